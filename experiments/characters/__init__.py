"""Shakespeare letter by letter: networks against n-grams, and what their predictions depend on."""
