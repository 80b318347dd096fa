/** The plugins of jupyter_agent in JupyterLab. */

import { connection } from './plugins/connection';
import { status } from './plugins/status';

export * from './tokens';

export default [connection, status];
