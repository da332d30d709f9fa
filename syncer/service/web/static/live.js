// Keeps the page as it would be if it were loaded anew: asks for it, and changes only what differs, so that scroll,
// focus, selection and what was opened stay. Nothing happens while the tab is hidden. Markup is parsed, never run.
"use strict";
(() => {
  const EVERY = 2000;
  const SLOWEST = 30000;
  const main = document.querySelector("main[data-live]");
  const lost = document.getElementById("lost");
  const fresh = document.getElementById("fresh");
  if (!main) return;
  let timer = 0;
  let failures = 0;
  let asking = null;

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id || node.getAttribute("data-key") || "" : "");

  const alike = (one, other) =>
    one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

  // the node that becomes `wanted`: the next one if it is alike, or one further on with the same key
  const match = (next, wanted) => {
    if (!next || alike(next, wanted)) return next;
    if (!keyOf(wanted)) return null;
    for (let node = next.nextSibling; node; node = node.nextSibling) if (alike(node, wanted)) return node;
    return null;
  };

  const takeAttributes = (node, wanted) => {
    const kept = (name) => name === "open" && node.nodeName === "DETAILS";
    for (const { name } of [...node.attributes]) {
      if (!wanted.hasAttribute(name) && !kept(name)) node.removeAttribute(name);
    }
    for (const { name, value } of wanted.attributes) {
      if (node.getAttribute(name) !== value && !kept(name)) node.setAttribute(name, value);
    }
  };

  const become = (node, wanted) => {
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.nodeValue !== wanted.nodeValue) node.nodeValue = wanted.nodeValue;
      return;
    }
    takeAttributes(node, wanted);
    let next = node.firstChild;
    for (const child of [...wanted.childNodes]) {
      const found = match(next, child);
      if (!found) {
        node.insertBefore(document.importNode(child, true), next);
      } else {
        if (found === next) next = next.nextSibling;
        else node.insertBefore(found, next);
        become(found, child);
      }
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
  };

  const show = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const wanted = page.querySelector("main[data-live]");
    if (!wanted) return false;
    become(main, wanted);
    document.title = page.title;
    return true;
  };

  const look = async () => {
    const began = performance.now();
    asking = new AbortController();
    const late = setTimeout(() => asking.abort(), 15000);
    try {
      const answer = await fetch(location.href, { signal: asking.signal, headers: { Accept: "text/html" } });
      if (answer.status === 401) {
        location.reload();
        return;
      }
      failures = answer.ok && show(await answer.text()) ? 0 : failures + 1;
    } catch {
      if (!document.hidden) failures += 1;
    } finally {
      clearTimeout(late);
    }
    lost.hidden = failures < 2;
    fresh.hidden = failures > 0;
    // a page that takes long to make is asked for less often
    const pause = Math.max(EVERY, 5 * (performance.now() - began));
    plan(Math.min(pause * 2 ** Math.max(failures - 1, 0), SLOWEST));
  };

  const plan = (wait) => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(look, wait);
  };

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden && asking) asking.abort();
    plan(0);
  });
  fresh.hidden = false;
  plan(EVERY);
})();
