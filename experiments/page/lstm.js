// A character-level LSTM that runs here: what experiments/models/portable.py wrote, in plain loops.
// No part of this file touches the document.
//
//   i, f, g, o = h_{t-1} W_hh + x_t W_xh + b_h
//   c_t = σ(f) c_{t-1} + σ(i) tanh(g)
//   h_t = σ(o) tanh(c_t)
//   logits = h_t W_hy + b_y
//
// States are {c, h} and are never changed, so one may be kept and returned to.
lesson.lstm = ({ alphabet, weights }) => {
  const characters = [...alphabet];
  const number = new Map(characters.map((character, i) => [character, i]));
  const { embedding, W_xh, W_hh, b_h, W_hy, b_y } = Object.fromEntries(
    Object.entries(weights).map(([name, { float16 }]) => [name, lesson.halves(float16)]));
  const [V, E] = weights.embedding.shape;
  const H = weights.W_hh.shape[0];

  // sums += row · matrix, the matrix [row.length, sums.length] row by row.
  const addProduct = (sums, row, matrix) => {
    const width = sums.length;
    for (let i = 0; i < row.length; i += 1) {
      const factor = row[i], start = i * width;
      for (let j = 0; j < width; j += 1) sums[j] += factor * matrix[start + j];
    }
    return sums;
  };
  // There are few characters: x_t W_xh + b_h is computed once for each of them.
  const drives = Array.from({ length: V }, (_, i) => addProduct(
    Float64Array.from(b_h), embedding.subarray(i * E, (i + 1) * E).map((x) => x * Math.sqrt(E)), W_xh));
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));

  const network = {
    alphabet: characters,
    size: H,
    knows: (character) => number.has(character),
    start: () => ({ c: new Float64Array(H), h: new Float64Array(H) }),
    // The state after one more character, and the logits of the character that follows it.
    step: (state, character) => {
      const gates = addProduct(Float64Array.from(drives[number.get(character)]), state.h, W_hh);
      const c = new Float64Array(H), h = new Float64Array(H);
      for (let i = 0; i < H; i += 1) {
        c[i] = sigmoid(gates[H + i]) * state.c[i] + sigmoid(gates[i]) * Math.tanh(gates[2 * H + i]);
        h[i] = sigmoid(gates[3 * H + i]) * Math.tanh(c[i]);
      }
      return { state: { c, h }, logits: addProduct(Float64Array.from(b_y), h, W_hy) };
    },
    // The same after several characters. The text is read as the beginning of a line.
    read: (text) => [...text].reduce(
      (now, character) => network.step(now.state, character), network.step(network.start(), "\n")),
    // The next character, drawn at a temperature.
    draw: (logits, temperature) => characters[lesson.sample(lesson.probabilities(logits, temperature))],
  };
  return network;
};

// 16-bit floats, little-endian, in base64.
lesson.halves = (base64) => {
  const bytes = atob(base64);
  const numbers = new Float32Array(bytes.length / 2);
  for (let i = 0; i < numbers.length; i += 1) {
    const low = bytes.charCodeAt(2 * i), high = bytes.charCodeAt(2 * i + 1);
    const exponent = (high >> 2) & 31, fraction = (((high & 3) << 8) | low) / 1024;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
    numbers[i] = high & 128 ? -size : size;
  }
  return numbers;
};

// softmax(logits / temperature)
lesson.probabilities = (logits, temperature = 1) => {
  const most = Math.max(...logits);
  const p = Float64Array.from(logits, (logit) => Math.exp((logit - most) / temperature));
  const sum = p.reduce((a, b) => a + b);
  return p.map((one) => one / sum);
};

// An index, drawn with these probabilities.
lesson.sample = (probabilities, uniform = Math.random()) => {
  let left = uniform;
  const drawn = probabilities.findIndex((p) => (left -= p) < 0);
  return drawn < 0 ? probabilities.length - 1 : drawn; // rounding may leave a crumb
};

// A character in words.
lesson.named = (character) => ({ " ": "space", "\n": "end of line" })[character] ?? character;

// Calls each() 60 times a second, or in one go, until it returns false, then done(). Returns what
// stops it.
lesson.paced = (each, atOnce, done) => {
  const timer = setInterval(() => {
    let more = each();
    while (more && atOnce) more = each();
    if (more) return;
    clearInterval(timer);
    done();
  }, 1000 / 60);
  return () => clearInterval(timer);
};
