/** The plugins as a page of JupyterLab has them: each is activated with what it asks for. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { DocumentRegistry } from '@jupyterlab/docregistry';
import { ServerConnection } from '@jupyterlab/services';
import type { CommandRegistry } from '@lumino/commands';
import type { Token } from '@lumino/coreutils';
import WebSocket from 'ws';

import plugins from '../index';
import type { Peer } from './peer';

type Services = Map<Token<unknown>, unknown>;

/** The lab's settings for a page of the peer. */
export function settingsFor(peer: Peer): ServerConnection.ISettings {
  return ServerConnection.makeSettings({
    baseUrl: peer.url,
    wsUrl: peer.url.replace('http', 'ws'),
    token: 'secret',
    WebSocket: WebSocket as unknown as typeof globalThis.WebSocket
  });
}

/**
 * Activates every plugin whose services there are, as JupyterLab does, and returns what finds the services: those given,
 * and those that the plugins provide.
 */
export function activateAll(peer: Peer, commands: CommandRegistry, given: Services): <T>(token: Token<T>) => T {
  const serviceManager = { serverSettings: settingsFor(peer) };
  const docRegistry = new DocumentRegistry();
  const app = { commands, serviceManager, docRegistry } as unknown as JupyterFrontEnd;
  const services = new Map(given);
  for (const plugin of plugins as JupyterFrontEndPlugin<unknown>[]) {
    const { requires = [], optional = [] } = plugin;
    if (!requires.every(token => services.has(token))) {
      continue;
    }
    const wanted = [...requires, ...optional];
    const service: unknown = plugin.activate(app, ...wanted.map(token => services.get(token) ?? null));
    if (plugin.provides) {
      services.set(plugin.provides, service);
    }
  }
  return <T>(token: Token<T>): T => services.get(token) as T;
}

export { transcriptOf } from './journals';
