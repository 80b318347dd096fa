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
    this.global.requestIdleCallback = callback => setTimeout(callback, 0);
    this.global.cancelIdleCallback = clearTimeout;
    // jsdom lays nothing out: a test says what is in view.
    this.global.IntersectionObserver = class IntersectionObserver {
      constructor(callback) {
        this.callback = callback;
      }
      observe(target) {
        target.reveal = () => this.callback([{ isIntersecting: true, target }]);
        this.callback([{ isIntersecting: false, target }]);
      }
      disconnect() {
        this.callback = () => {};
      }
    };
    this.global.DragEvent = class DragEvent extends this.global.MouseEvent {};
  }
};
