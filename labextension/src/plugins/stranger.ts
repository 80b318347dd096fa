/** Keeps notebooks that are not trusted from running code by the state of their widgets. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

import { guard, isNotebook } from '../stranger';

export const stranger: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-agent:stranger',
  description: 'Loads no code from the widget state of a notebook that is not trusted.',
  autoStart: true,
  activate: ({ docRegistry }: JupyterFrontEnd) => {
    docRegistry.addWidgetExtension('Notebook', {
      createNew: (_, { model }) => {
        if (isNotebook(model)) {
          guard(model);
        }
      }
    });
  }
};
