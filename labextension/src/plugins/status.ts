/** Shows in the status bar how many of one's runs are working, and how many wait. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { StatusItem } from '../components/status';
import { ActivityModel } from '../model';
import type { Run } from '../protocol';
import { requestAll } from '../request';
import { IConnection } from '../tokens';

export const status: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-agent:status',
  description: 'Counts agent runs in the status bar.',
  autoStart: true,
  requires: [IConnection],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    connection: IConnection,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ): void => {
    if (!statusBar) {
      return;
    }
    const settings = app.serviceManager.serverSettings;
    const model = new ActivityModel(connection, status => requestAll<Run>('runs', settings, { status, limit: 200 }));
    const trans = (translator ?? nullTranslator).load('jupyter_agent');
    statusBar.registerStatusItem('jupyter-agent:status', {
      item: new StatusItem(model, trans),
      align: 'left',
      rank: 20
    });
  }
};
