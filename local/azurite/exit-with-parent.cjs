// Loaded before Azurite: ends it when the process that started it is gone, however that one died.
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
process.stdin.on("error", () => process.exit(0));
// By itself it keeps nothing running: told to end, Azurite writes down what it has and ends.
process.stdin.unref?.();
