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
    Object.assign(this.global, { Blob, fetch, Headers, Request, Response, TextEncoder, TextDecoder });
    // JupyterLab's components ask for these when they are loaded.
    this.global.matchMedia = media => ({ media, matches: false, addEventListener: () => {}, addListener: () => {} });
    this.global.requestIdleCallback = callback => setTimeout(callback, 0);
    this.global.cancelIdleCallback = clearTimeout;
    // jsdom lays nothing out: a test says what is in view.
    this.global.IntersectionObserver = class IntersectionObserver {
      constructor(callback) {
        this.callback = callback;
        this.targets = new Set();
      }
      observe(target) {
        this.targets.add(target);
        target.reveal = (isIntersecting = true) => this.tell(target, isIntersecting);
        this.tell(target, false);
      }
      tell(target, isIntersecting) {
        if (this.targets.has(target)) {
          this.callback([{ target, isIntersecting, intersectionRatio: isIntersecting ? 1 : 0 }]);
        }
      }
      unobserve(target) {
        this.targets.delete(target);
      }
      disconnect() {
        this.targets.clear();
      }
    };
    this.global.DragEvent = class DragEvent extends this.global.MouseEvent {};
  }
};
