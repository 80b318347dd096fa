// JupyterLab's packages and some of theirs are ES modules: they are transformed along with our own sources.
const modules = [
  '@jupyter',
  '@jupyterlab',
  '@microsoft',
  'exenv-es6',
  'lib0',
  'nanoid',
  'uuid',
  'vscode-ws-jsonrpc',
  'y-protocols',
  'y-websocket',
  'yjs'
];

module.exports = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/src/__tests__/**/*.spec.ts'],
  transform: { '\\.[jt]sx?$': ['ts-jest', { tsconfig: 'tsconfig.test.json' }] },
  transformIgnorePatterns: [`/node_modules/(?!(${modules.join('|')})/)`],
  moduleNameMapper: { '\\.(css|svg)$': '<rootDir>/src/__tests__/asset.js' },
  // An open handle is a leak: the tests must end by themselves.
  testTimeout: 10_000
};
