/** Gives the other plugins the activity of one's runs. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

import { ActivityModel } from '../activity';
import type { Run } from '../protocol';
import { requestAll } from '../request';
import { IActivity, IRuns } from '../tokens';

export const activity: JupyterFrontEndPlugin<IActivity> = {
  id: 'jupyter-agent:activity',
  description: 'Knows which agent runs work and which wait.',
  autoStart: true,
  requires: [IRuns],
  provides: IActivity,
  activate: (_: JupyterFrontEnd, { gateway }: IRuns): IActivity =>
    new ActivityModel(gateway.connection, status => requestAll<Run>('runs', gateway, { status, limit: 200 }))
};
