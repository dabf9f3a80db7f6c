// A page that is left open while builds come and go: what it holds is bounded, in the heap, in the package's memory and
// in the document.

import type { CDPSession, Page } from "@playwright/test";

import { pipeline } from "../../fixtures/gate";
import { expect, open, test } from "../../fixtures/stepcast";

/** Builds in each half; an hour of builds under `--all`. */
const BUILDS = process.env.STEPCAST_TEST_ALL === "1" ? 1_800 : 60;
/** The second half may add so much to the heap: what the browser keeps for itself moves by about as much. Bytes. */
const HEAP_GROWTH_MAX = 2_000_000;
/** The package's memory grows in steps of 64 KiB and never shrinks: two of them, and so little for each build; bytes. */
const WASM_GROWTH_MAX = 131_072 + 64 * BUILDS;
const NODES_GROWTH_MAX = 200;

interface Held {
  heap: number;
  wasm: number;
  nodes: number;
}

async function held(page: Page, browser: CDPSession): Promise<Held> {
  await browser.send("HeapProfiler.collectGarbage");
  const { metrics } = await browser.send("Performance.getMetrics");
  const metric = (name: string) => metrics.find((known) => known.name === name)?.value ?? NaN;
  const wasm = await page.evaluate(() => (window as unknown as { memory: WebAssembly.Memory }).memory.buffer.byteLength);
  return { heap: metric("JSHeapUsedSize"), wasm, nodes: metric("Nodes") };
}

test("the home page that is left open does not grow with the builds it saw", async ({ page, api }) => {
  test.setTimeout(BUILDS * 8_000 + 120_000);
  await page.addInitScript(() => {
    const original = WebAssembly.instantiateStreaming;
    WebAssembly.instantiateStreaming = async (...given) => {
      const made = await original.apply(WebAssembly, given);
      // The main part has it; the others import it.
      if (made.instance.exports.memory) (window as unknown as { memory: unknown }).memory = made.instance.exports.memory;
      return made;
    };
  });
  await api.apply("often", pipeline("often", { work: "seq 1 20" }));
  await open(page, "/");
  const browser = await page.context().newCDPSession(page);
  await browser.send("Performance.enable");

  let last = 0;
  const half = async () => {
    for (let count = 0; count < BUILDS; count++) {
      await api.finished(await api.trigger("often"));
      last += 1;
    }
    await expect(page.getByRole("link", { name: `#${last} succeeded` })).toBeVisible();
    await expect(page.getByText("Nothing runs at the moment.")).toBeVisible();
    return held(page, browser);
  };
  const first = await half();
  const second = await half();
  process.stdout.write(`after ${BUILDS} builds ${JSON.stringify(first)}, after ${2 * BUILDS} ${JSON.stringify(second)}\n`);
  expect(second.heap - first.heap, "bytes of heap").toBeLessThan(HEAP_GROWTH_MAX);
  expect(second.wasm - first.wasm, "bytes of the package's memory").toBeLessThan(WASM_GROWTH_MAX);
  expect(second.nodes - first.nodes, "nodes of the document").toBeLessThan(NODES_GROWTH_MAX);
});
