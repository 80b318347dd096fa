/** What style sheets and pictures are in tests: an empty drawing. */

module.exports = '<svg xmlns="http://www.w3.org/2000/svg"/>';
