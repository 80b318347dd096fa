/** Gives the other plugins the page's connection to the gateway. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

import { connectionTo } from '../gateway';
import { IConnection } from '../tokens';
import { serverOf } from './server';

export const connection: JupyterFrontEndPlugin<IConnection> = {
  id: 'jupyter-agent:connection',
  description: 'Connects to the agent gateway of this server.',
  autoStart: true,
  provides: IConnection,
  activate: ({ serviceManager }: JupyterFrontEnd): IConnection => {
    const connection = connectionTo(serverOf(serviceManager.serverSettings));
    connection.connect();
    return connection;
  }
};
