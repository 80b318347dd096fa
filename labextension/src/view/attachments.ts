/** Files that go along with a prompt: pictures as blobs of the gateway, text as text. Anything else is refused by name. */

import type { Image, Text } from '../protocol';
import type { IGateway, IWords } from '../tokens';

export interface IAttachment {
  readonly name: string;
  readonly part: Image | Text;
}

const PICTURES: ReadonlySet<string> = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);
const MOST_PICTURE_BYTES = 10_000_000;
const MOST_TEXT_BYTES = 200_000;

interface IKept {
  readonly blob: string;
  readonly mime: string;
}

/** Returns the attachment of a file. Throws an error with a sentence for what cannot go along. */
export async function attach(file: File, gateway: IGateway, words: IWords): Promise<IAttachment> {
  return PICTURES.has(file.type) ? attachPicture(file, gateway, words) : attachText(file, words);
}

async function attachPicture(file: File, gateway: IGateway, words: IWords): Promise<IAttachment> {
  if (file.size > MOST_PICTURE_BYTES) {
    throw new Error(words.__('%1 is larger than 10 MB: attach a smaller picture.', file.name));
  }
  const kept: IKept = await gateway.request('blobs', { method: 'POST', body: await file.arrayBuffer() });
  if (!PICTURES.has(kept.mime)) {
    throw new Error(words.__('%1 is no picture that a model can see: attach PNG, JPEG, GIF or WebP.', file.name));
  }
  return { name: file.name, part: { type: 'image', blob: kept.blob, mime: kept.mime } };
}

async function attachText(file: File, words: IWords): Promise<IAttachment> {
  if (file.size > MOST_TEXT_BYTES) {
    throw new Error(
      words.__('%1 is larger than 200 kB: name its path in the prompt, and the agent reads it.', file.name)
    );
  }
  const bytes = await file.arrayBuffer();
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return { name: file.name, part: { type: 'text', text: `${file.name}:\n\n${text}` } };
  } catch {
    throw new Error(words.__('%1 is neither text nor a picture: name its path in the prompt instead.', file.name));
  }
}
