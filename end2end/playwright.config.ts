// How the browser tests are run. What a test gets to work with is in `fixtures/`, the tests themselves are in `tests/`:
// `pages` has one file for each URL, `flows` what a person does across pages, `bugs` one file for each mistake that came back.

import { defineConfig } from "@playwright/test";

/** A machine of the size that we promise to serve has two cores: more tests at once would only measure each other. */
const WORKERS = 2;
/** One test, its own server's start and end included, in milliseconds. */
const TEST_MS_MAX = 180_000;
/** One expectation, in milliseconds: for a page that must only catch up with what has happened. */
const EXPECT_MS_MAX = 30_000;
/** Everything, in milliseconds: `cargo xtask test` promises 40 minutes for all of its parts. */
const ALL_MS_MAX = 30 * 60_000;

/** What takes minutes of both cores, for `--all` and for who names it. */
const LONG = ["flows/real-repository.spec.ts"];

export default defineConfig({
  testDir: "tests",
  testIgnore: process.env.STEPCAST_TEST_ALL === "0" ? LONG : [],
  outputDir: "test-results",
  // One picture for all systems: what it is compared with allows for their letters.
  snapshotPathTemplate: "looks/{arg}{ext}",
  reporter: [["list"]],
  // A test that passes only at the second attempt has found something: the run tells it as flaky, and `--all` fails by it.
  retries: process.env.STEPCAST_TEST_ALL === "0" ? 1 : 0,
  forbidOnly: true,
  fullyParallel: true,
  workers: WORKERS,
  timeout: TEST_MS_MAX,
  globalTimeout: process.env.STEPCAST_TEST_ALL === "1" ? 0 : ALL_MS_MAX,
  expect: { timeout: EXPECT_MS_MAX },
  use: {
    browserName: "chromium",
    viewport: { width: 1280, height: 800 },
    trace: "retain-on-failure",
    screenshot: "only-on-failure",
    launchOptions: {
      executablePath: process.env.STEPCAST_CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    },
  },
});
