// Takes the pictures of the documentation, `docs/images/*.png`, of a private installation with a build that runs:
//
//     cargo xtask build
//     cd end2end && npx playwright test --config screenshots.config.ts
//
// No test of anything: what the pages do is tested in `tests/`.

import { stat } from "node:fs/promises";
import { join } from "node:path";

import { expect, test, type Api } from "./fixtures/stepcast";

/** So that a clone of the repository stays small, in bytes. */
const PICTURE_BYTES_MAX = 200_000;
const images = join(import.meta.dirname, "../docs/images");

/** What a Rust project prints, at a pace at which one can watch; its tests stop where the picture is taken. */
const ENGINE = String.raw`
name: engine
description: Compile, check, test and pack the engine
inputs:
  ref: {default: main, description: Branch or tag to build}
  profile: {default: release, description: dev or release}
jobs:
  fetch:
    steps:
      - name: sources
        run: printf 'HEAD is now at \e[33m8c41f0e\e[0m Keep the order of late frames\n'
      - name: dependencies
        run: for c in bytes serde tokio tracing; do printf '\e[1;32m Downloaded\e[0m %s\n' $c; sleep 0.2; done
  lint:
    needs: [fetch]
    steps:
      - name: cargo fmt
        run: sleep 0.3
      - name: cargo clippy
        run: printf '\e[1;32m    Finished\e[0m in 1.42s\n'; sleep 1.1
  docs:
    needs: [fetch]
    steps:
      - name: cargo doc
        run: printf '\e[1;32m Documenting\e[0m engine v0.9.2\n'; sleep 0.8
  test:
    needs: [fetch]
    matrix: {suite: [unit, integration, browser]}
    steps:
      - name: compile
        run: |
          for crate in bytes v1.11.0 serde v1.0.228 memchr v2.8.0 tokio v1.50.0 tracing v0.1.44 engine-wire v0.9.2 engine v0.9.2; do
            case $crate in
              v*) printf ' %s\n' "$crate" ;;
              *) printf '\e[1;32m   Compiling\e[0m %s' "$crate"; sleep 0.15 ;;
            esac
          done
          printf '\e[1;33mwarning\e[0m\e[1m: unused variable: \x60deadline\x60\e[0m\n'
          printf '  \e[1;34m-->\e[0m src/replay.rs:88:13\n   \e[1;34m|\e[0m\n'
          printf '\e[1;34m88 |\e[0m         let deadline = now + grace;\n'
          printf '   \e[1;34m|\e[0m             \e[1;33m^^^^^^^^\e[0m \e[1;33mhelp: prefix it with an underscore\e[0m\n\n'
          printf '\e[1;32m    Finished\e[0m \x60test\x60 profile [unoptimized + debuginfo] in 2.31s\n'
      - name: cargo test
        run: |
          printf '\e[1;32m     Running\e[0m %s tests of engine\n\nrunning 48 tests\n' "$MATRIX_SUITE"
          for name in a_gap_is_told_once a_late_frame_keeps_its_place a_slow_reader_is_let_go an_offset_never_repeats \
              attach_answers_with_the_former_id close_codes_say_whether_to_come_back commands_are_answered_in_order \
              epochs_begin_at_one frames_above_the_limit_are_refused late_pongs_end_a_socket lines_keep_their_order \
              many_readers_share_one_buffer nothing_is_sent_twice positions_survive_a_restart queues_are_bounded; do
            printf 'test replay::%s ... \e[32mok\e[0m\n' $name
            sleep 0.12
          done
          printf 'waiting for 33 more'
          sleep 600
  package:
    needs: [lint, docs, test]
    steps:
      - name: archive
        run: tar czf engine.tgz .
    artifacts: [engine.tgz]
`;

/** Pipelines with a past. Each is one job that ends as the input says. */
const OTHERS: [name: string, description: string, outcomes: string][] = [
  ["engine", "Compile, check, test and pack the engine", "ok ok bad ok ok ok"],
  ["api-docs", "Render the reference and publish it", "ok ok ok ok ok ok ok"],
  ["nightly", "Long tests on the newest toolchain", "ok bad ok late ok ok bad"],
  ["site", "Build and check the site", "ok ok bad ok ok ok ok ok ok"],
];

/** What is usual for those that the pictures show running. */
const SECONDS: Record<string, number> = { engine: 9, site: 7 };

function other(name: string, description: string): string {
  return `
name: ${name}
description: ${description}
inputs: {end: {default: ok}}
jobs:
  work:
    timeout: ${name === "nightly" ? "2s" : "1m"}
    steps:
      - run: sleep ${SECONDS[name] ?? 0}; case $INPUT_END in late) sleep 600 ;; bad) exit 1 ;; esac
`;
}

async function givePast(api: Api): Promise<void> {
  for (const [name, description, outcomes] of OTHERS) {
    await api.apply(name, other(name, description));
    const builds: string[] = [];
    for (const end of outcomes.split(" ")) builds.push(await api.trigger(name, { end }));
    for (const build of builds) await api.finished(build);
  }
}

test.use({ serve: { arguments: ["--slots", "8"], environment: {} }, timezoneId: "UTC" });

test("the pictures of the documentation", async ({ page, api }) => {
  await givePast(api);
  await api.apply("engine", ENGINE);
  await api.trigger("site", { end: "late" });
  const build = await api.trigger("engine");
  await api.until(build, ({ jobs }) => jobs.some((job) => job.name.startsWith("lint") && job.state === "finished"), "checked");

  const take = async (name: string, colorScheme: "light" | "dark") => {
    await page.emulateMedia({ colorScheme });
    const path = join(images, name);
    await page.screenshot({ path });
    expect((await stat(path)).size, `bytes of ${name}`).toBeLessThan(PICTURE_BYTES_MAX);
  };
  await page.goto(`/builds/${build}`);
  await expect(page.getByText("waiting for 33 more", { exact: true })).toBeVisible();
  await expect(page.locator(".pill")).toHaveText(/^live/);
  await take("build.png", "light");
  await take("build-dark.png", "dark");

  await page.keyboard.press("Control+f");
  await page.getByRole("searchbox").fill("ok");
  await expect(page.locator(".search-bar .found")).toHaveText("1 of 16");
  await page.getByRole("button", { name: "Times" }).click();
  await take("search.png", "light");

  await page.setViewportSize({ width: 1280, height: 520 });
  await page.goto("/");
  await expect(page.locator(".builds li")).toHaveCount(2);
  await expect(page.locator(".pill")).toHaveText(/^live/);
  await take("home.png", "light");
});
