/** Gives the other plugins, and every module of the page, the runs that the page follows. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

import { PageGateway, publishRuns } from '../gateway';
import { Runs } from '../runs';
import { IConnection, IRuns } from '../tokens';
import { serverOf } from './server';

export const runs: JupyterFrontEndPlugin<IRuns> = {
  id: 'jupyter-agent:runs',
  description: 'Follows agent runs for every view of the page.',
  autoStart: true,
  requires: [IConnection],
  provides: IRuns,
  activate: ({ serviceManager }: JupyterFrontEnd, connection: IConnection): IRuns => {
    const runs = new Runs(new PageGateway(serverOf(serviceManager.serverSettings), connection));
    publishRuns(runs);
    return runs;
  }
};
