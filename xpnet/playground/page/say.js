// What screen readers are told, a line at a time: only what the user asked for, and how training goes.

const node = document.getElementById("announce");

/** Have a line read out. */
export const say = (text) => (node.textContent = text);
