// What users take along: the program, and the link.

const $ = (id) => document.getElementById(id);

/** Show a program that makes so many steps; `isShown` says whether the page shows the same steps. */
export function showCode({code, steps}, isShown) {
  $("code-text").textContent = code;
  $("code-about").textContent = isShown ? "It trains this network for as many steps, and prints the same loss." : `It trains this network for ${steps.toLocaleString("en")} steps.`;
  $("code").showModal();
}

$("close-code").onclick = () => $("code").close();
$("copy-code").onclick = () => copy($("copy-code"), $("code-text").textContent, () => getSelection().selectAllChildren($("code-text")));

/** Copy the address of the page. */
export const copyLink = () => copy($("copy-link"), location.href, () => prompt("Copy this link", location.href));

// Where the browser lets nothing be copied, the text is offered in another way.
async function copy(button, text, offer) {
  const before = button.dataset.text ??= button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    offer();
  }
  setTimeout(() => (button.textContent = before), 1500);
}
