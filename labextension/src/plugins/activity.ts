/** Gives the other plugins the activity of one's runs. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

import { ActivityModel } from '../model';
import type { Run } from '../protocol';
import { requestAll } from '../request';
import { IActivity, IConnection } from '../tokens';

export const activity: JupyterFrontEndPlugin<IActivity> = {
  id: 'jupyter-agent:activity',
  description: 'Knows which agent runs work and which wait.',
  autoStart: true,
  requires: [IConnection],
  provides: IActivity,
  activate: (app: JupyterFrontEnd, connection: IConnection): IActivity => {
    const settings = app.serviceManager.serverSettings;
    return new ActivityModel(connection, status => requestAll<Run>('runs', settings, { status, limit: 200 }));
  }
};
