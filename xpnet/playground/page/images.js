// Images: a digit that is drawn, and the network that answers.
export function build() {}
export function show() {}
export function update() {}
