// Preloaded into Azurite: when the pipe to its parent breaks, however the parent died, Azurite ends as well.
process.stdin.on("end", () => process.kill(process.pid, "SIGTERM")).resume().unref();
