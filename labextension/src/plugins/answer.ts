/** Tells of what waits for the person, and lets them answer it. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { CommandIDs } from '../commands';
import { Desk } from '../components/desk';
import { Notices } from '../components/notices';
import { IActivity, IRuns } from '../tokens';
import { publishWaiting, WaitingModel } from '../waiting';

export const answer: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-agent:answer',
  description: 'Approvals and questions of agent runs: a notification when one appears, a dialog to answer.',
  autoStart: true,
  requires: [IRuns, IActivity],
  optional: [ICommandPalette, ITranslator],
  activate: (
    { commands }: JupyterFrontEnd,
    runs: IRuns,
    activity: IActivity,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ): void => {
    const trans = (translator ?? nullTranslator).load('jupyter_agent');
    const model = new WaitingModel(runs, activity);
    publishWaiting(model);
    const desk = new Desk(model, activity, runs, trans);
    new Notices(model, desk, trans, id => void commands.execute(CommandIDs.answer, { id }));
    commands.addCommand(CommandIDs.answer, {
      label: trans.__('Agent: answer what is waiting'),
      caption: trans.__('Approve or reject tool calls and answer questions of your agent runs'),
      describedBy: { args: { type: 'object', properties: { id: { type: 'string' } } } },
      execute: ({ id }) => desk.open(typeof id === 'string' ? id : undefined)
    });
    palette?.addItem({ command: CommandIDs.answer, category: trans.__('Agent') });
  }
};
