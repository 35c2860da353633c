// How the page reaches what trains: commands by POST, events by server-sent events.
// Another way (Python inside the browser, say) needs only a file with these two functions.

let session = "", source = null, handlers = {}, timer = 0;

/** Listen to events; each is given to the handler of its name. `state` is told "open", "lost" or "away". */
export function listen(given) {
  handlers = given;
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : connect()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", (event) => event.persisted && connect());
  connect();
}

/** Have a command carried out; return its reply, or raise an Error with one line. */
export async function ask(name, given = {}) {
  let reply;
  try {
    const body = JSON.stringify({session, do: name, ...given});
    const headers = {"Content-Type": "application/json"};
    reply = await (await fetch("do", {method: "POST", headers, body})).json();
  } catch {
    throw new Error("The server cannot be reached: is xpnet playground still running?");
  }
  if (reply.error) throw new Error(reply.error);
  return reply;
}

// Training stops when nobody looks: a hidden page has no connection. It comes back to its session.
function leave() {
  clearTimeout(timer);
  source?.close();
  source = null;
  handlers.state?.("away");
}

function connect() {
  if (source) return;
  clearTimeout(timer);
  source = new EventSource("events" + (session ? "?session=" + encodeURIComponent(session) : ""));
  source.onerror = () => {
    source?.close();
    source = null;
    handlers.state?.("lost");
    timer = setTimeout(connect, 1500);
  };
  source.addEventListener("hello", (event) => {
    const value = JSON.parse(event.data), isNew = value.session !== session;
    session = value.session;
    handlers.state?.("open");
    handlers.hello(value, isNew);
  });
  for (const name of ["network", "frame", "trouble"])
    source.addEventListener(name, (event) => handlers[name](JSON.parse(event.data)));
}
