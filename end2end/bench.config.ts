// Runs `bench.ts`, by `cargo xtask bench`: one browser, nothing beside it.

import { defineConfig } from "@playwright/test";

import tests from "./playwright.config";

export default defineConfig({
  ...tests,
  testDir: ".",
  testMatch: "bench.ts",
  workers: 1,
  timeout: 300_000,
  use: { ...tests.use, trace: "off", screenshot: "off" },
});
