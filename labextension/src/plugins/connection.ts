/** Gives the other plugins the page's connection to the gateway. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { URLExt } from '@jupyterlab/coreutils';

import { Connection } from '../connection';
import { IConnection } from '../tokens';

export const connection: JupyterFrontEndPlugin<IConnection> = {
  id: 'jupyter-agent:connection',
  description: 'Connects to the agent gateway of this server.',
  autoStart: true,
  provides: IConnection,
  activate: (app: JupyterFrontEnd): IConnection => {
    const settings = app.serviceManager.serverSettings;
    const connection = new Connection({
      url: URLExt.join(settings.wsUrl, 'jupyter-agent', 'ws'),
      token: () => settings.token,
      WebSocket: settings.WebSocket
    });
    connection.connect();
    return connection;
  }
};
