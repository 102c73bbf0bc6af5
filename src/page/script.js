"use strict";
// Facts are in the page as it comes; this only brings newer ones, and says so where none come.
(() => {
  const every = 5000;
  let since = Date.now();
  const lost = document.getElementById("lost");
  const alive = (yes) => {
    document.body.classList.toggle("lost", !yes);
    if (yes) {
      since = Date.now();
      return;
    }
    const seconds = Math.round((Date.now() - since) / 1000);
    lost.textContent = `The autoscaler has not answered for ${seconds} s. What you see is from before.`;
  };
  // What stays the same of something that can have the focus when the content is new.
  const place = (one) => [one.closest("[id]").id, one.localName, one.getAttribute("href")].join(" ");
  const refresh = async () => {
    if (document.hidden) return;
    let text;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(every) });
      text = await answer.text();
      if (!answer.headers.get("content-type")?.startsWith("text/html")) throw new Error("not a page");
    } catch {
      alive(false);
      return;
    }
    alive(true);
    const page = new DOMParser().parseFromString(text, "text/html");
    const next = page.querySelector("main");
    const main = document.querySelector("main");
    if (!next || !main) return;
    const active = document.activeElement;
    // Who writes into the search field keeps it.
    if (active instanceof HTMLInputElement && main.contains(active)) {
      for (const part of ["#clock", "#found"]) {
        const newer = next.querySelector(part);
        if (newer) main.querySelector(part)?.replaceWith(newer);
      }
      return;
    }
    const open = new Set([...main.querySelectorAll("details[open]")].map((one) => one.id));
    for (const one of next.querySelectorAll("details")) one.open = open.has(one.id) || one.open;
    const scrolls = new Map([...main.querySelectorAll(".scroll[id]")].map((one) => [one.id, one.scrollLeft]));
    const focused = active && main.contains(active) ? place(active) : null;
    const [x, y] = [scrollX, scrollY];
    main.replaceChildren(...next.childNodes);
    document.title = page.title;
    for (const [id, left] of scrolls) {
      const one = document.getElementById(id);
      if (one) one.scrollLeft = left;
    }
    if (focused) {
      const again = [...main.querySelectorAll("a[href], button, input, summary, [tabindex]")];
      again.find((one) => place(one) === focused)?.focus({ preventScroll: true });
    }
    scrollTo(x, y);
  };
  setInterval(refresh, every);
  document.addEventListener("visibilitychange", refresh);
})();
