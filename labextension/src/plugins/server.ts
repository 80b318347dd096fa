/** The server of a JupyterLab page, as the lab's own settings have it. */

import { URLExt } from '@jupyterlab/coreutils';
import type { ServerConnection } from '@jupyterlab/services';

import type { IServer } from '../gateway';

export function serverOf(settings: ServerConnection.ISettings): IServer {
  const { baseUrl, wsUrl, WebSocket } = settings;
  return {
    baseUrl: URLExt.join(baseUrl, '/'),
    wsUrl: URLExt.join(wsUrl, '/'),
    token: () => settings.token,
    cookie: () => document.cookie,
    fetch: (url, init) => {
      // By itself, since a browser's own refuses to be called as somebody's method.
      const { fetch } = settings;
      return fetch(new settings.Request(url, { ...settings.init, ...init }));
    },
    WebSocket
  };
}
