"""One loader a file, each with the hash and the licence of what it reads."""
