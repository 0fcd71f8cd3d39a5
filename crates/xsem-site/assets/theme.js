// Before the first paint: what the reader has chosen, else what the system has.
(() => {
  let kept = null;
  try { kept = localStorage.getItem("xsem-theme"); } catch { /* a file, or no storage */ }
  if (kept) document.documentElement.dataset.theme = kept;
})();
