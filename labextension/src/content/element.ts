/**
 * How content gets into a page: elements made one by one, with text nodes in them.
 *
 * Nothing that a model or a tool wrote is ever parsed as markup. Element names, classes and attributes come from our own
 * sources. Text of unknown origin becomes text nodes in one of two ways: `visible` writes out whatever cannot be seen, so
 * that nothing can hide in it; `plain` only keeps it from moving what stands beside it.
 */

/** As the server does it, for what it hands on as it is; what it made visible already stays. */
const HIDDEN =
  /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Zs}\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/gu;

/** What moves the text around it or means something to a terminal; as in the client's `plain`. */
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

/**
 * Returns the text with every character that cannot be seen written out, as ⟨U+200B⟩. Blanks, line breaks and tabs stay.
 *
 * For what a person decides on; in prose it would be noise.
 */
export function visible(text: string): string {
  return text.replace(HIDDEN, character =>
    ' \n\t'.includes(character)
      ? character
      : `⟨U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}⟩`
  );
}

/** Returns text that cannot change the direction or order of what stands around it. For prose and output. */
export function plain(text: string): string {
  return text.replace(/\r\n/g, '\n').replace(CONTROL, '\ufffd');
}

/**
 * Returns an element with this class and this text, made visible, and these attributes, which are never a model's.
 *
 * Names, labels and whatever is decided on go in this way. Prose and output go in by `prose`.
 */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  className: string,
  text = '',
  attributes: Readonly<Record<string, string>> = {}
): HTMLElementTagNameMap[K] {
  const node = document.createElement(name);
  if (className) {
    node.className = className;
  }
  if (text) {
    node.textContent = visible(text);
  }
  for (const [attribute, value] of Object.entries(attributes)) {
    node.setAttribute(attribute, value);
  }
  return node;
}

/** Returns an element with this class and this text, made plain. */
export function prose<K extends keyof HTMLElementTagNameMap>(
  name: K,
  className: string,
  text: string
): HTMLElementTagNameMap[K] {
  const node = element(name, className);
  node.textContent = plain(text);
  return node;
}
