/** All trials, many at once: each has its own runs. */

import { after, describe } from 'node:test';

import { commands } from './commands.js';
import { exactlyOnce } from './exactly-once.js';
import { frames } from './frames.js';
import { liveness } from './liveness.js';
import { Witness } from './support.js';

describe('the gateway', { concurrency: 12, timeout: 240_000 }, () => {
  after(() => Witness.allLeave());
  // The longest first.
  exactlyOnce();
  liveness();
  commands();
  frames();
});
