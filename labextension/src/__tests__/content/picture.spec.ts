/**
 * Pictures that a tool made, from a gateway over real requests.
 *
 * @jest-environment ./src/__tests__/environment.js
 */

import { Picture } from '../../content/picture';
import { PageGateway } from '../../gateway';
import { Peer, until } from '../peer';
import { words } from './words';

const DIGEST = 'a1'.repeat(32);

let peer: Peer;
let gateway: PageGateway;
/** The blobs behind the addresses that are in use. jsdom has none of these. */
let addresses: Map<string, Blob>;

beforeEach(async () => {
  peer = await Peer.start();
  peer.onRequest = path => (path.endsWith(DIGEST) ? [200, '<svg onload="x()"/>'] : [404, { message: 'It is gone.' }]);
  gateway = new PageGateway({ baseUrl: peer.url, wsUrl: peer.url.replace('http', 'ws'), token: () => '' });
  addresses = new Map();
  let count = 0;
  URL.createObjectURL = blob => {
    const address = `blob:here/${(count += 1)}`;
    addresses.set(address, blob as Blob);
    return address;
  };
  URL.revokeObjectURL = address => void addresses.delete(address);
});

afterEach(() => peer.stop());

/** Lets the picture come near the part of the page that is in view. */
function reveal(picture: Picture): void {
  (picture.node as unknown as { reveal(): void }).reveal();
}

async function loaded(mime: string): Promise<{ picture: Picture; image: HTMLImageElement }> {
  const picture = new Picture(gateway, DIGEST, mime, words);
  reveal(picture);
  await until(() => picture.node.querySelector('img') !== null);
  return { picture, image: picture.node.querySelector('img') as HTMLImageElement };
}

test('is asked for only when it comes near', async () => {
  const picture = new Picture(gateway, DIGEST, 'image/png', words);
  await new Promise(done => setTimeout(done, 50));
  expect(peer.requests).toEqual([]);
  expect(picture.node.querySelector('img')).toBeNull();
  reveal(picture);
  await until(() => picture.node.querySelector('img') !== null);
  expect(peer.requests).toHaveLength(1);
});

test('has the type that it was said to have, and lets go of its bytes', async () => {
  const { picture, image } = await loaded('image/png');
  expect(addresses.get(image.src)?.type).toBe('image/png');
  expect(image.alt).toBe('Picture made by the tool (PNG)');
  picture.dispose();
  expect(addresses.size).toBe(0);
});

test('that is a drawing never gets an address of this origin', async () => {
  const { image } = await loaded('image/svg+xml');
  expect(image.src).toBe('data:image/svg+xml;charset=utf-8,%3Csvg%20onload%3D%22x()%22%2F%3E');
  expect(addresses.size).toBe(0);
});

test('is shown in full size and small again', async () => {
  const { picture } = await loaded('image/webp');
  const button = picture.node.querySelector('button');
  expect(button?.getAttribute('aria-expanded')).toBe('false');
  button?.click();
  expect(button?.getAttribute('aria-expanded')).toBe('true');
  button?.click();
  expect(button?.getAttribute('aria-expanded')).toBe('false');
});

test('that cannot be had says why', async () => {
  const picture = new Picture(gateway, 'b2'.repeat(32), 'image/png', words);
  reveal(picture);
  await until(() => picture.node.textContent !== '');
  expect(picture.node.textContent).toBe('The picture could not be loaded: It is gone.');
});

test('that is none says so', async () => {
  const { picture, image } = await loaded('image/png');
  image.dispatchEvent(new Event('error'));
  expect(picture.node.textContent).toBe('What came is no picture that can be shown.');
});

test.each(['text/html', 'image/tiff', 'application/pdf', 'IMAGE/PNG', 'image/png; x'])(
  'of type %s is not asked for',
  async mime => {
    const picture = new Picture(gateway, DIGEST, mime, words);
    expect(picture.node.textContent).toContain('cannot be shown');
    await new Promise(done => setTimeout(done, 20));
    expect(peer.requests).toEqual([]);
  }
);

test('that was let go of while it came holds nothing', async () => {
  const picture = new Picture(gateway, DIGEST, 'image/png', words);
  reveal(picture);
  picture.dispose();
  await until(() => peer.requests.length === 1);
  await new Promise(done => setTimeout(done, 50));
  expect(addresses.size).toBe(0);
  expect(picture.node.querySelector('img')).toBeNull();
});
