// A real repository: a crate of this project is built with cargo in three jobs, from a click to the file in the browser's hands.
// Cargo takes minutes of both cores, so of the parts of `cargo xtask test` it is one of `--all`.

import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { expect, open, test } from "../../fixtures/stepcast";

/** For cargo to build a crate and its dependencies from nothing, in milliseconds. */
const CARGO_MS_MAX = 15 * 60_000;

const run = promisify(execFile);

// Its jobs share what cargo has built and has downloaded in the home of the person who runs the tests. The repository is a folder of
// this machine, which executors do not clone otherwise.
test.use({ serve: { arguments: ["--isolation", "plain", "--git-allow", tmpdir()], environment: {} } });

test("a clone of this project's history is checked, tested and packed", async ({ page, api }) => {
  test.setTimeout(3 * CARGO_MS_MAX);
  const folder = await mkdtemp(join(tmpdir(), "stepcast-e2e-repository-"));
  try {
    const repository = join(folder, "stepcast.git");
    await run("git", ["clone", "--quiet", "--bare", join(import.meta.dirname, "../../.."), repository]);
    const { stdout } = await run("git", ["-C", repository, "rev-parse", "HEAD"]);
    const head = stdout.trim();
    const yaml = `
name: wire
inputs:
  ref: {default: ${head}, description: What to build}
source: {git: "file://${repository}", ref: "\${{ inputs.ref }}"}
env: {CARGO_TARGET_DIR: "${join(folder, "target")}"}
jobs:
  check:
    steps:
      - {name: which, run: git rev-parse HEAD}
      - {name: check, run: cargo fmt -p wire --check}
  test:
    needs: [check]
    steps:
      - {name: test, run: cargo test --locked -p wire}
  package:
    needs: [test]
    steps:
      - {name: pack, run: tar czf wire.tgz -C crates wire}
    artifacts: [wire.tgz]
`;
    await api.apply("wire", yaml);
    await open(page, "/pipelines/wire");
    await page.getByRole("main").getByRole("button", { name: "Build" }).click();
    await expect(page).toHaveURL(/\/builds\//);

    const jobs = page.locator(".jobs");
    await expect(page.locator(".log")).toContainText(head, { timeout: CARGO_MS_MAX });
    await jobs.getByRole("link", { name: /^\w+ test/ }).click();
    await expect(page).toHaveTitle("succeeded · wire #1 · Stepcast", { timeout: CARGO_MS_MAX });
    await expect(page.locator(".log")).toContainText(/test result: ok/);
    await jobs.getByRole("link", { name: /^\w+ package/ }).click();

    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: /wire\.tgz/ }).click()]);
    expect(download.suggestedFilename()).toBe("wire.tgz");
    const file = join(folder, "wire.tgz");
    await download.saveAs(file);
    const { stdout: packed } = await run("tar", ["xzOf", file, "wire/src/lib.rs"]);
    const { stdout: original } = await run("git", ["-C", repository, "show", "HEAD:crates/wire/src/lib.rs"]);
    expect(packed).toBe(original);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
