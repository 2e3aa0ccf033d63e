// What Sphinx' search finds first. Sphinx puts this file after its own, `searchtools.js` (`html_search_scorer`).
//
// The order is: phrases of `PHRASES`, functions and classes by their name, titles and headings, text, and last attributes and
// methods. Whole words come before beginnings of words; other parts of words, such as "tpu" in "output", are not found.

/** What people search for and headings do not have, by the page that answers. */
const PHRASES = {
  ci: [
    "ci",
    "github actions",
  ],
  coming_from: [
    "kaiming",
    "kaiming_normal",
    "kaiming_uniform",
    "xavier",
    "xavier_normal",
    "xavier_uniform",
  ],
  devices: [
    "distributed",
    "distributed training",
    "gpu",
    "multi gpu",
    "multi gpu training",
    "multi-gpu",
    "multiple gpus",
    "sharding",
    "tpu",
  ],
  fine_tuning: [
    "fine-tuning",
    "transfer learning",
  ],
  index: [
    "getting started",
    "install",
    "quick start",
    "quickstart",
    "tutorial",
  ],
  initializers: [
    "ema",
    "export",
    "lstm forget gate",
    "onnx",
    "orthogonal",
    "save",
    "sparse",
  ],
  load_pretrained: [
    "hugging face",
    "huggingface",
    "load weights",
    "lora",
    "pretrained",
    "safetensors",
    "torch weights",
    "weight norm",
    "weight normalization",
  ],
  mup: [
    "learning rate transfer",
    "mup",
    "µp",
  ],
  own_initializer: [
    "custom initializer",
    "subclass",
  ],
  port_from_torch: [
    "notebook",
  ],
  problems: [
    "dead relu",
    "dead units",
    "nan",
  ],
  random_restarts: [
    "restart",
    "restarts",
  ],
  results: [
    "csv",
    "dataframe",
    "json",
    "pandas",
  ],
  save_pretrained: [
    "torch weights",
  ],
  seeds: [
    "random seed",
    "reproducibility",
    "reproducible",
    "seed",
    "seeds",
  ],
  symptoms: [
    "freeze",
    "freezing",
    "frozen",
    "nan",
  ],
  training: [
    "dropout",
    "weight decay",
  ],
  trouble: [
    "freeze",
    "freezing",
    "frozen",
  ],
  versions: [
    "bf16",
    "bfloat16",
    "float16",
    "float8",
    "fp16",
    "fp8",
    "half precision",
    "int8",
    "keras 2",
    "mixed precision",
    "tf.keras",
  ],
};

Object.assign(Scorer, {
  objNameMatch: 36,
  title: 30,
  partialTitle: 3,
  term: 5,
  partialTerm: 1,
  score: ([, , , description, score, , kind]) =>
    kind === SearchResultKind.object && /^Python (attribute|method|property),/.test(description) ? score / 100 : score,
});

/** Return the pages of a term in one of Sphinx' tables, which write a single page without a list. */
const pagesOf = (table, term) => [table[term]].flat();

/** Return the stems of the words in the phrases of a page. */
const wordsOf = (name) => {
  const stemmer = new Stemmer();
  return new Set(splitQuery((PHRASES[name] ?? []).join(" ")).map((word) => stemmer.stemWord(word)));
};

/** Return a page's best score for a word, by page. */
const scoresOf = (word) => {
  const scores = new Map();
  const note = (table, term, score) =>
    pagesOf(table, term).forEach((page) => scores.set(page, Math.max(score, scores.get(page) ?? 0)));
  for (const [table, whole, beginning] of [
    [Search._index.titleterms, Scorer.title, Scorer.partialTitle],
    [Search._index.terms, Scorer.term, Scorer.partialTerm],
  ]) {
    for (const term of Object.keys(table)) {
      if (term === word) note(table, term, whole);
      else if (word.length > 2 && term.startsWith(word)) note(table, term, beginning);
    }
  }
  Search._index.docnames.forEach((name, page) => {
    if (wordsOf(name).has(word)) scores.set(page, Scorer.title);
  });
  return scores;
};

Search.performTermsSearch = (words) => {
  const { docnames, titles, filenames } = Search._index;
  // A word of one or two letters that no page has says little.
  const scores = [...words].map((word) => [word, scoresOf(word)]).filter(([word, { size }]) => size || word.length > 2);
  if (!scores.length) return [];
  return docnames.flatMap((name, page) => {
    if (!scores.every(([, ofWord]) => ofWord.has(page))) return [];
    const sum = scores.reduce((total, [, ofWord]) => total + ofWord.get(page), 0);
    return [[name, titles[page], "", null, sum / scores.length, filenames[page], SearchResultKind.text]];
  });
};

/** Whether a word of a name, such as `keras_initx.LSTMForgetBias`, begins with a term. */
const hasWord = (name, term) => {
  const own = name.replace(/^keras_initx\./, "");
  const starts = [...own.matchAll(/(?<![A-Za-z0-9])[A-Za-z0-9]|(?<=[a-z0-9])[A-Z]|[A-Z](?=[a-z])/g)];
  return starts.some(({ index }) => own.toLowerCase().startsWith(term, index));
};

const searchObjects = Search.performObjectSearch;
Search.performObjectSearch = (term, terms) => searchObjects(term, terms).filter(([, name]) => hasWord(name, term));

const performSearch = Search._performSearch;
Search._performSearch = (query, ...terms) => {
  const { docnames, titles, filenames } = Search._index;
  const phrase = query.toLowerCase().trim();
  const answers = docnames.flatMap((name, page) =>
    PHRASES[name]?.includes(phrase)
      ? [[name, titles[page], "", null, 2 * Scorer.title, filenames[page], SearchResultKind.title]]
      : [],
  );
  const others = performSearch(query, ...terms).filter(
    ([name, , anchor]) => anchor || !answers.some(([answer]) => answer === name),
  );
  return [...others, ...answers.reverse()]; // the last is shown first
};
