// Shows what the server sends, and answers with the times of receiving it and of the frame that shows it.

const square = document.getElementById("square");
const label = document.getElementById("label");
const hint = document.getElementById("hint");

function show(message) {
  if (message.on !== undefined) square.classList.toggle("on", message.on);
  if (message.label !== undefined) label.textContent = message.label;
}

const socket = new WebSocket(`ws://${location.host}/frames`);
socket.onmessage = (event) => {
  const got = performance.now();
  const message = JSON.parse(event.data);
  const answer = (frame) => socket.send(JSON.stringify({ n: message.n, got, frame }));
  if (message.on === undefined && message.label === undefined) {
    answer(null); // only compares the clocks
    return;
  }
  requestAnimationFrame(() => {
    const frame = performance.now();
    show(message);
    answer(frame);
  });
};
socket.onclose = (event) => {
  hint.textContent = event.reason || "The measurement has ended.";
};
document.addEventListener("click", () => document.documentElement.requestFullscreen().catch(() => {}));
