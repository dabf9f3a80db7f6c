// Measures what a person sees, in a real Chromium: from a line being printed to its being painted, and the page of a long
// log. Figures are printed, never compared with a limit; `cargo xtask bench` runs this behind its own figures.

import type { Page } from "@playwright/test";

import { pipeline } from "./fixtures/gate";
import { row } from "./fixtures/log";
import { expect, open, test } from "./fixtures/stepcast";

const QUICK = process.env.STEPCAST_BENCH_QUICK === "1";
const LINES = QUICK ? 60 : 300;
const LONG = 100_000;
/** Places of the fast sweep over the long log. */
const POSITIONS = 120;

function percentile(sorted: number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
}

function print(figure: string, values: number[], about: string): void {
  const sorted = [...values].sort((a, b) => a - b);
  const [p50, p99] = [0.5, 0.99].map((part) => percentile(sorted, part).toFixed(1));
  process.stdout.write(`  ${figure}: p50 ${p50} ms, p99 ${p99} ms, n = ${sorted.length} (${about})\n`);
}

test("a line printed, and painted", async ({ page, api }) => {
  // The shell's own clock in each line, 20 to 50 ms apart: no process is started between reading and printing it.
  const script = `export LC_ALL=C; sleep 1; for i in $(seq ${LINES}); do echo "\${EPOCHREALTIME/./}"; sleep 0.0$((20 + i * 7 % 31)); done`;
  await api.apply("clock", pipeline("clock", { work: script }));
  await page.addInitScript(() => {
    const painted: Record<string, number> = {};
    Object.assign(window, { painted });
    const looked = () => {
      for (const cell of document.querySelectorAll(".log .row .t")) {
        const text = cell.textContent ?? "";
        if (/^\d{16}$/.test(text) && !(text in painted)) {
          painted[text] = 0;
          // A task after the next frame's work: the frame with the line has been handed to be drawn.
          requestAnimationFrame(() => {
            const channel = new MessageChannel();
            channel.port1.onmessage = () => (painted[text] = (performance.timeOrigin + performance.now()) * 1_000);
            channel.port2.postMessage(0);
          });
        }
      }
    };
    new MutationObserver(looked).observe(document, { childList: true, subtree: true, characterData: true });
  });
  const build = await api.trigger("clock");
  await open(page, `/builds/${build}`);
  await api.finished(build);
  await expect(page).toHaveTitle(/succeeded/);
  const painted = await page.evaluate(() => (window as unknown as { painted: Record<string, number> }).painted);
  const waits = Object.entries(painted).filter(([, at]) => at > 0).map(([printed, at]) => (at - Number(printed)) / 1_000);
  print("line printed to painted in Chromium", waits, `a line each 20 to 50 ms; ${LINES} printed; peer Laminar 291 / 500, aim 40 / 100`);
});

test("the page of a long log", async ({ page, api }) => {
  await api.apply("long", pipeline("long", { work: `seq 1 ${LONG}` }));
  const build = await api.trigger("long");
  await api.finished(build);
  await open(page, `/builds/${build}`);
  // Since the browser began to navigate: the first row's frame has been handed to be drawn; rows are the package's own.
  await page.addInitScript(() => {
    const marks: { painted?: number; live?: number } = {};
    Object.assign(window, { marks });
    const later = (then: () => void) =>
      requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = then;
        channel.port2.postMessage(0);
      });
    let [seen, taken] = [false, false];
    const looked = () => {
      if (!seen && document.querySelector(".log .row") !== null) {
        seen = true;
        later(() => (marks.painted = performance.now()));
      }
      if (!taken && document.querySelector(".log:not(.still) .row:not(.unread)") !== null) {
        taken = true;
        later(() => (marks.live = performance.now()));
      }
    };
    new MutationObserver(looked).observe(document, { childList: true, subtree: true });
  });
  const driven: number[] = [];
  const first: number[] = [];
  const live: number[] = [];
  for (let round = 0; round < (QUICK ? 3 : 10); round++) {
    await page.goto("about:blank");
    const started = Date.now();
    await page.goto(`/builds/${build}`, { waitUntil: "commit" });
    await page.locator(".log .row").first().waitFor();
    driven.push(Date.now() - started);
    await row(page, 0).and(page.locator(".log:not(.still) .row:not(.unread)")).waitFor();
    const at = async (name: "painted" | "live") => {
      const mark = await page.waitForFunction((name) => (window as unknown as { marks: Record<string, number> }).marks[name], name);
      return (await mark.jsonValue()) as number;
    };
    first.push(await at("painted"));
    live.push(await at("live"));
  }
  print(`page of ${LONG} lines: first rows painted`, first, "since the navigation began; aim 200");
  print(`page of ${LONG} lines: interactive`, live, "rows drawn by the browser package");
  print(`page of ${LONG} lines: first rows, for the driver`, driven, "with the way to the browser and back, and a new process for the page");
  await sweep(page);
});

async function sweep(page: Page): Promise<void> {
  const seen = await page.locator(".log").evaluate(async (log, positions) => {
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    let [blank, absent, nodes] = [0, 0, 0];
    for (let at = 0; at < positions; at++) {
      log.scrollTop = ((log.scrollHeight - log.clientHeight) * at) / (positions - 1);
      await frame();
      await frame();
      const view = log.getBoundingClientRect();
      const rows = [...log.querySelectorAll<HTMLElement>(".row")].filter((row) => {
        const box = row.getBoundingClientRect();
        return box.bottom > view.top + 1 && box.top < view.bottom - 1;
      });
      if (rows.length < Math.floor(log.clientHeight / 20) - 1) blank += 1;
      else if (rows.some((row) => row.classList.contains("absent"))) absent += 1;
      nodes = Math.max(nodes, document.querySelectorAll("*").length);
    }
    return { blank, absent, nodes };
  }, POSITIONS);
  process.stdout.write(`  fast sweep, ${POSITIONS} positions of two frames each: ${seen.blank} blank, ${seen.absent} with numbers whose text was still on its way; ${seen.nodes} elements in the document (peer 105 blank; aim none, under 1,000)\n`);
}
