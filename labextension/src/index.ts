/** The plugins of jupyter_agent in JupyterLab. */

import { activity } from './plugins/activity';
import { answer } from './plugins/answer';
import { connection } from './plugins/connection';
import { status } from './plugins/status';

export * from './tokens';

export default [connection, activity, answer, status];
