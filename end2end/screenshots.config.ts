// How the pictures of the documentation are taken; what is on them is in `screenshots.ts`.

import { defineConfig } from "@playwright/test";

import base from "./playwright.config";

export default defineConfig(base, {
  testDir: ".",
  testMatch: "screenshots.ts",
  workers: 1,
  use: { ...base.use, trace: "off", screenshot: "off" },
});
