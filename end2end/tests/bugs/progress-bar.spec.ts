// A line that changed while it had no end kept an older text on screen: the row that showed it was not told apart from its
// successor when a reading of the record came in between.

import { Gate, pipeline } from "../../fixtures/gate";
import { row } from "../../fixtures/log";
import { expect, open, test } from "../../fixtures/stepcast";

test("a progress bar is one row that changes", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  const script = `echo begin; printf 'at 10 %%'; printf '\\rat 50 %%'; ${gate.wait}; printf '\\rat 100 %%\\n'; echo end`;
  await api.apply("bar", pipeline("bar", { work: script }));
  const build = await api.trigger("bar");
  await open(page, `/builds/${build}`);
  await expect(row(page, 1).locator(".t")).toHaveText("at 50 %");
  await gate.open();
  await expect(page.locator(".log .row .t")).toHaveText(["begin", "at 100 %", "end"]);
  await expect(page).toHaveTitle("succeeded · bar #1 · Stepcast");
  await page.reload();
  await expect(page.locator(".log .row .t")).toHaveText(["begin", "at 100 %", "end"]);
});
