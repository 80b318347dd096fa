/** Registers the renderers of runs and of views with everything that shows outputs: notebooks, consoles, their mirrored views. */

import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Keeper, MIME_TYPE } from '../keeper';
import { keepKeys } from '../keys';
import { RANK, RunRenderer } from '../renderer';
import { IRuns } from '../tokens';
import { runShower } from '../view/shower';
import { ViewRenderer } from '../view-renderer';
import { VIEW_MIME } from '../views';

export const renderer: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-agent:renderer',
  description: 'Shows agent runs in outputs.',
  autoStart: true,
  requires: [IRenderMimeRegistry],
  optional: [IRuns, ITranslator],
  activate: (
    _: JupyterFrontEnd,
    rendermime: IRenderMimeRegistry,
    runs: IRuns | null,
    translator: ITranslator | null
  ) => {
    const words = (translator ?? nullTranslator).load('jupyter_agent');
    const keeper = runs && new Keeper(runs.gateway);
    keepKeys(window);
    rendermime.addFactory(
      {
        // What a model wrote is text whether the notebook is trusted or not, so there is nothing to be kept from.
        safe: true,
        mimeTypes: [MIME_TYPE],
        createRenderer: () => new RunRenderer({ words, runs, keeper })
      },
      RANK
    );
    const showRun = runs && runShower(words, () => ({ value: runs, dispose: () => undefined }));
    rendermime.addFactory(
      { safe: true, mimeTypes: [VIEW_MIME], createRenderer: () => new ViewRenderer(words, showRun) },
      RANK
    );
  }
};
