/** The plugins of jupyter_agent in JupyterLab. */

import { activity } from './plugins/activity';
import { answer } from './plugins/answer';
import { connection } from './plugins/connection';
import { renderer } from './plugins/renderer';
import { runs } from './plugins/runs';
import { status } from './plugins/status';
import { stranger } from './plugins/stranger';

export * from './tokens';

export default [connection, runs, renderer, activity, answer, status, stranger];
