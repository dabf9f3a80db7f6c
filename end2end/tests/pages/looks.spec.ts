// How the pages look, beside pictures of them that a person has judged (`looks/`). What is different each time is drawn
// the same by `looks/fixed.css`. After a change that is wanted, take them anew and look at each:
//
//     npx playwright test tests/pages/looks.spec.ts --update-snapshots

import { join } from "node:path";

import { EVERYTHING } from "../../fixtures/pages";
import { expect, open, test, type Api } from "../../fixtures/stepcast";

// What is drawn the same is told by a style of the tests' own, which a page lets in as little as anybody else's.
test.use({ bypassCSP: true });

const WIDTHS = [1280, 360];
/** Letters are drawn a little differently from machine to machine. A button that is missing is more than this. */
const LOOK = { maxDiffPixelRatio: 0.002, stylePath: join(import.meta.dirname, "../../looks/fixed.css") };

/** Pipelines with a past: what each of their builds ended with. */
const OTHERS: [name: string, description: string, codes: string][] = [
  ["api-docs", "Render the reference and publish it", "0000000"],
  ["nightly-tests-on-the-newest-toolchain", "Long tests, whose description is too long for a line of a phone", "0010010"],
  ["site", "Build and check the site", "00100000000"],
];

function other(name: string, description: string): string {
  return `name: ${name}
description: ${description}
inputs:
  code: {default: "0", description: What it ends with}
jobs:
  work:
    steps:
      - name: work
        run: exit "$INPUT_CODE"
`;
}

/** Gives the installation a past, and returns the build of everything. */
async function givePast(api: Api): Promise<string> {
  for (const [name, description, codes] of OTHERS) {
    await api.apply(name, other(name, description));
    for (const code of codes) await api.finished(await api.trigger(name, { code }));
  }
  await api.apply("everything", EVERYTHING);
  const build = await api.trigger("everything");
  await api.finished(build);
  return build;
}

for (const colorScheme of ["light", "dark"] as const) {
  for (const width of WIDTHS) {
    test(`the pages look as they should, ${colorScheme}, ${width} pixels wide`, async ({ page, api }) => {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      const build = await givePast(api);
      const places = { home: "/", pipeline: "/pipelines/site", build: `/builds/${build}` };
      for (const [name, address] of Object.entries(places)) {
        await open(page, address);
        // What only admins see is loaded behind the rest.
        if (name === "pipeline") await expect(page.getByRole("heading", { name: "Hooks" })).toBeVisible();
        if (name === "build") await expect(page.locator(".log .row .t").last()).toBeVisible();
        await expect(page).toHaveScreenshot(`${name}-${colorScheme}-${width}.png`, { ...LOOK, fullPage: name !== "build" || width < 400 });
      }
    });
  }
}
