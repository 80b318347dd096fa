/**
 * Makes the module and the style sheet that anywidget loads, and the licences of what is in them.
 *
 * Everything is in the two files: a page without this server, or without any network, shows a run too.
 */

import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { build } from 'esbuild';

const FOLDER = '../jupyter_agent/widgets/static';
const shared = { bundle: true, minify: true, legalComments: 'none', logLevel: 'warning' };

const { metafile } = await build({
  ...shared,
  entryPoints: { widget: 'src/widget/index.ts' },
  format: 'esm',
  metafile: true,
  outdir: FOLDER,
  platform: 'browser',
  target: 'es2022'
});
await build({ ...shared, entryPoints: { widget: 'style/index.css' }, outdir: FOLDER });
await writeFile(join(FOLDER, 'widget.licenses.txt'), await licences(Object.keys(metafile.inputs)));

/** Returns the licences of the packages that these files are from. */
async function licences(inputs) {
  const names = inputs.map(input => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1]).filter(name => name);
  return (await Promise.all([...new Set(names)].sort().map(licence))).join('\n\n');
}

async function licence(name) {
  const folder = join('node_modules', name);
  const { version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  const file = (await readdir(folder)).find(entry => /^licen[cs]e/i.test(entry));
  const text = file ? await readFile(join(folder, file), 'utf8') : '';
  return `${name} ${version} (${license})\n\n${text}`.trimEnd();
}
