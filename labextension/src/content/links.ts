/**
 * Where a text may lead: links that open apart, and pictures that load only when somebody asks for them.
 *
 * Only http, https and mailto lead anywhere, and the reader sees where. Nothing is loaded before a click, and nobody is
 * asked for the address behind a name: names can carry secrets.
 */

import type { IWords } from '../tokens';
import { element, plain, prose, visible } from './element';
import { unescaped } from './entities';

/** An address is shown up to this length. */
const SHOWN = 80;

/** A longer one is no address but a burden. */
const LONGEST = 2_000;

const PICTURE = /^data:image\/(?:png|jpeg|gif|webp);base64,[a-z0-9+/]+={0,2}$/i;

/** Names, in letters of old, and numbers: what browsers take for a host beyond them nobody means. */
const HOST = /^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])$/;

/** Returns where the address in a text leads, or null where it may not lead. */
export function address(written: string): URL | null {
  const text = unescaped(written.replace(/^<([^]*)>$/, '$1'));
  if (text.length > LONGEST || !/^(?:https?:\/\/[^/\\?#]|mailto:[^/])/i.test(text) || visible(text) !== text) {
    return null;
  }
  try {
    const url = new URL(text);
    const leads = url.protocol === 'mailto:' || (/^https?:$/.test(url.protocol) && HOST.test(url.hostname));
    return leads && !/\s/.test(text) ? url : null;
  } catch {
    return null;
  }
}

/** Returns where an address that stands in a text by itself leads (`www.…`, `me@…`, `https://…`), or null. */
export function bareAddress(written: string): URL | null {
  if (/^www\./i.test(written)) {
    return address(`https://${written}`);
  }
  return address(/^[\w.+-]+@/.test(written) ? `mailto:${written}` : written);
}

/** Returns a link around this label, and what it really leads to where the label says another thing. */
export function link(url: URL, label: ReadonlyArray<Node>): HTMLElement[] {
  lookNothingUp();
  const node = element('a', 'jp-agent-Markdown-link', '', {
    href: url.href,
    target: '_blank',
    rel: 'noopener noreferrer nofollow',
    title: plain(url.href)
  });
  node.append(...label);
  const real = unlike(node.textContent ?? '', url);
  return real ? [node, element('span', 'jp-agent-Markdown-host', ` (${shortened(real)})`)] : [node];
}

/** Browsers look names up when a link is there, or the pointer over it. With this, not on this page any more. */
function lookNothingUp(): void {
  if (!document.head.querySelector('meta[http-equiv="x-dns-prefetch-control"][content="off"]')) {
    document.head.append(element('meta', '', '', { 'http-equiv': 'x-dns-prefetch-control', content: 'off' }));
  }
}

/** Returns what the label hides of the address, or nothing: what names a place must name this one. */
function unlike(label: string, url: URL): string {
  if (url.protocol === 'mailto:') {
    const to = decode(url.pathname).toLowerCase();
    const said = /[^\s<>:]+@[^\s<>?]+/.exec(label)?.[0].toLowerCase() ?? (/\.\w/.test(label) ? label : to);
    return said === to ? '' : to;
  }
  if (url.username || url.password || /(?:^|\.)xn--/.test(url.hostname)) {
    return url.host;
  }
  // Without what cannot be seen, and with the look-alikes of dots and slashes as what they look like.
  const text = label
    .normalize('NFKC')
    .replace(/[\p{Cf}\p{Cc}\p{Mn}]/gu, '')
    .replace(/[。・․∙⋅]/gu, '.')
    .replace(/[⁄∕⧸]/gu, '/');
  const host = bare(url.host);
  const named = [...text.matchAll(/[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+(?::\d+)?/gu)].map(([name]) => name);
  const first = named[0];
  if (first === undefined) {
    return /^\s*[a-z][a-z0-9+.-]*:\/\//i.test(text) && !text.includes(url.host) ? url.host : '';
  }
  if (bare(first) !== host) {
    return url.host;
  }
  const whole = /https?:\/\/\S+/i.exec(text)?.[0];
  return whole !== undefined && !leadsTo(whole, url) ? url.href : '';
}

function bare(host: string): string {
  return host.toLowerCase().replace(/^www\./, '');
}

/** Whether an address as people write it is this one; they leave off its end. */
function leadsTo(written: string, url: URL): boolean {
  const found = address(written.replace(/(?:…|\.\.\.|[.,;:!?)\]])+$/, ''));
  return found !== null && url.href.replace(/^https?/, '').startsWith(found.href.replace(/^https?|\/$/g, ''));
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function shortened(text: string): string {
  return text.length > SHOWN ? `${text.slice(0, SHOWN - 1)}…` : text;
}

/** Returns what stands for a picture until somebody wants to see it, or its description where it may not be loaded. */
export function pictureChip(written: string, description: string, words: IWords): HTMLElement {
  const alt = plain(description).trim() || words.__('picture');
  const source = pictureSource(written);
  if (source === null) {
    return prose('span', 'jp-agent-Markdown-noPicture', `🖼 ${alt}`);
  }
  const label = source.host
    ? words.__('🖼 %1 — load from %2', alt, source.host)
    : words.__('🖼 %1 — show the picture', alt);
  const node = prose('button', 'jp-agent-Markdown-chip', label);
  node.type = 'button';
  node.title = shortened(source.href);
  node.addEventListener('click', () => node.replaceWith(loaded(source.href, alt, words)));
  return node;
}

function pictureSource(written: string): { readonly href: string; readonly host: string } | null {
  if (PICTURE.test(written)) {
    return { href: written, host: '' };
  }
  const url = address(written);
  return url === null || url.protocol === 'mailto:' ? null : { href: url.href, host: url.host };
}

function loaded(source: string, alt: string, words: IWords): HTMLElement {
  const node = element('img', 'jp-agent-Markdown-picture');
  node.alt = alt;
  node.setAttribute('referrerpolicy', 'no-referrer');
  node.addEventListener('error', () =>
    node.replaceWith(prose('span', 'jp-agent-Markdown-noPicture', words.__('🖼 %1 (it could not be loaded)', alt)))
  );
  node.src = source;
  return node;
}
