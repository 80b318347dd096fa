// Scrolls through every element that the selector names, opens all that opens, and tells what is on the page that none of
// our own code makes: {faults: [...], markers: [...], elements: n}. It presses nothing that leads out or decides.
// With places, selectors in the element, it looks at everything that comes onto the page from now on instead, opens
// thoughts, and keeps in `window.__watched` what should not be there and what each place held while the run was on its way.
async ([selector, places]) => {
  const TAGS = new Set(
    (
      'A B BLOCKQUOTE BR BUTTON CODE DD DEL DETAILS DIV DL DT EM FIELDSET FORM H1 H2 H3 H4 H5 H6 HEADER HR I IMG INPUT ' +
      'LABEL LEGEND LI OL OPTION P PRE SECTION SELECT SPAN STRONG SUMMARY TABLE TBODY TD TEXTAREA TH THEAD TR UL'
    ).split(' ')
  );
  const ATTRIBUTES = new Set(
    (
      'alt checked class disabled for hidden href id max maxlength min multiple name open placeholder referrerpolicy rel role rows ' +
      'scope selected src start step style tabindex target title type value'
    ).split(' ')
  );
  const STYLES = new Set(['height', 'text-align', 'white-space', 'margin', 'margin-top', 'margin-bottom', 'padding', 'color']);
  const OPENERS =
    '.jp-agent-Call-line[aria-expanded="false"], .jp-agent-Content-more:not([hidden]), .jp-agent-Output-toggle[aria-pressed="false"]';
  const faults = new Set();
  const markers = new Set();
  let elements = 0;

  const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));

  function checkAttribute(node, { name, value }, isRun) {
    // A dialog of JupyterLab marks the fields in it.
    const inOurs = () => value.split(/\s+/).every(one => !one || one.startsWith('jp-agent-') || one === 'jp-mod-styled');
    const isKnown = ATTRIBUTES.has(name) || name.startsWith('aria-') || (name.startsWith('data-') && isRun);
    const isWrong =
      !isKnown ||
      name.startsWith('data-commandlinker') ||
      (name === 'class' && !inOurs()) ||
      (['id', 'name', 'for'].includes(name) && !value.startsWith('jp-agent-')) ||
      (name === 'href' && (!isRun || !['http:', 'https:', 'mailto:'].includes(node.protocol))) ||
      (name === 'src' && !value.startsWith('blob:')) ||
      (name === 'style' && /url\(|expression|position|javascript/i.test(value)) ||
      (name === 'style' && isRun && ![...node.style].every(one => STYLES.has(one) || one === 'display'));
    if (isWrong) {
      faults.add(`<${node.tagName.toLowerCase()} ${name}="${value.slice(0, 80)}">`);
    }
  }

  function checkElement(node, isRun) {
    elements += 1;
    if (!TAGS.has(node.tagName) || node.namespaceURI !== 'http://www.w3.org/1999/xhtml') {
      faults.add(`<${node.tagName}> of ${node.namespaceURI}`);
    }
    for (const attribute of node.attributes) {
      checkAttribute(node, attribute, isRun);
    }
    if (node.shadowRoot) {
      faults.add(`<${node.tagName}> with a shadow`);
    }
  }

  function collect(text, into) {
    for (const [marker] of text.matchAll(/attack-\d{3}/g)) {
      into.add(marker);
    }
  }

  function check(part, isRun) {
    part.querySelectorAll('*').forEach(node => checkElement(node, isRun));
    collect(part.textContent, markers);
  }

  function watch(root) {
    const seen = new Map(places.map(place => [place, new Set()]));
    const look = ({ target, addedNodes, type, attributeName }) => {
      if (type === 'attributes' && target.hasAttribute(attributeName)) {
        checkAttribute(target, target.attributes[attributeName], true);
      }
      for (const node of [...addedNodes].filter(one => one instanceof Element)) {
        checkElement(node, true);
        check(node, true);
      }
    };
    new MutationObserver(records => {
      records.forEach(look);
      root.querySelectorAll('details:not([open])').forEach(node => (node.open = true));
      if (root.dataset.status === 'running') {
        seen.forEach((markers, place) => {
          [...root.querySelectorAll(place)].slice(-5).forEach(node => collect(node.textContent.slice(-2_000), markers));
        });
      }
    }).observe(root, { attributes: true, childList: true, characterData: true, subtree: true });
    window.__watched = () => ({
      faults: [...faults],
      seen: Object.fromEntries([...seen].map(([place, markers]) => [place, [...markers]]))
    });
  }

  if (places) {
    watch(document.querySelector(selector));
    return;
  }

  function open(root) {
    root.querySelectorAll('details:not([open])').forEach(node => (node.open = true));
    for (let closed = root.querySelectorAll(OPENERS); closed.length > 0; closed = root.querySelectorAll(OPENERS)) {
      closed.forEach(node => node.click());
    }
  }

  for (const root of document.querySelectorAll(selector)) {
    const isRun = root.matches('.jp-agent-Run, .jp-agent-Waiting, .jp-agent-Answer-body');
    root.scrollIntoView({ block: 'start' });
    await frame();
    const scroller = root.querySelector('.jp-agent-Run-scroller');
    for (const slot of root.querySelectorAll('.jp-agent-Run-slot')) {
      // A slot is made when it comes near.
      for (let tries = 0; tries < 100 && (tries === 0 || !slot.firstChild); tries += 1) {
        scroller.scrollTop += slot.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
        await frame();
      }
      open(slot);
      check(slot, isRun);
    }
    open(root);
    check(root, isRun);
  }
  return { faults: [...faults], markers: [...markers].sort(), elements };
}
