/** A browser's page for tests, with the network of Node, since jsdom has no fetch. */

const { TestEnvironment } = require('jest-environment-jsdom');

module.exports = class PageEnvironment extends TestEnvironment {
  constructor(config, context) {
    super(
      {
        ...config,
        projectConfig: {
          ...config.projectConfig,
          testEnvironmentOptions: { customExportConditions: ['node', 'require'] }
        }
      },
      context
    );
    Object.assign(this.global, { fetch, Headers, Request, Response, TextEncoder, TextDecoder });
    // JupyterLab's components ask for these when they are loaded.
    this.global.matchMedia = media => ({ media, matches: false, addEventListener: () => {}, addListener: () => {} });
    this.global.DragEvent = class DragEvent extends this.global.MouseEvent {};
  }
};
