-- rule: which group of heads is next. Pure: it looks at nothing but what it is given.
--
-- A group's score is the age of its oldest head over the priority's target. The best group is chosen,
-- but the resident model's best keeps a lead of HYSTERESIS.
local HYSTERESIS = 0.5
local TARGET_MS = { high = 120000, normal = 3600000, low = 14400000 }
local URGENCY = { high = 3, normal = 2, low = 1 }

local function better(a, b)
  if not b then return a end
  if a.score ~= b.score then return a.score > b.score and a or b end
  if a.priority ~= b.priority then return URGENCY[a.priority] > URGENCY[b.priority] and a or b end
  return a.model < b.model and a or b
end

-- `t` of a group is the age base of its oldest head, false where it has none that may start; `open` is
-- the class's open time.
local function choose_group(groups, resident, open)
  local own, other
  for _, group in ipairs(groups) do
    if group.t then
      group.score = (open - group.t) / TARGET_MS[group.priority]
      if group.model == resident then own = better(group, own) else other = better(group, other) end
    end
  end
  if own and (not other or own.score + HYSTERESIS >= other.score) then return own end
  return other
end
