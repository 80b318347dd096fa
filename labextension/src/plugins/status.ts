/** Shows in the status bar how many of one's runs are working, and how many wait. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { CommandIDs } from '../commands';
import { StatusItem } from '../components/status';
import { IActivity } from '../tokens';

export const status: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-agent:status',
  description: 'Counts agent runs in the status bar.',
  autoStart: true,
  requires: [IActivity],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    activity: IActivity,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ): void => {
    if (!statusBar) {
      return;
    }
    const trans = (translator ?? nullTranslator).load('jupyter_agent');
    statusBar.registerStatusItem('jupyter-agent:status', {
      item: new StatusItem(activity, trans, () => void app.commands.execute(CommandIDs.answer)),
      align: 'left',
      rank: 20
    });
  }
};
