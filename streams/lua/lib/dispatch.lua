-- dispatch: which heads a take leases, entry by entry. Needs ledger, append,
-- rule.
--
-- KEYS  limits  HASH  pool → total, class|app → concurrency, rate|class and rate|class|app → rate
--       pace_   HASH  by class: app, or '' for all → when all the starts of its rate are there again
--       turns_  HASH  by class: app → when it was last served, '' → the count of turns
-- A group is one (priority, model); which one is next, rule.lua says. Within the group it is the turn
-- of the app that was served least recently. `streams.dispatch` is the same rule in Python, and the
-- oracle of the tests.

-- group: {priority, model, apps = {app → {source, ...}}, t = age base of its oldest head}
-- source: a lane's undelivered entries, or one expired lease (then it has `entry` and `pool`)
local groups, by_name = {}, {}
local turns, turn = {}, nil
local settings, concurrency, running = {}, {}, {}
local rates = {} -- app, or '' for all → {every, burst, full_at, left, spent}

-- A rate is `jobs per_ms burst`: a bucket of `burst` starts, into which one comes every per_ms / jobs.
local function read_rate(class, whose, stored)
  local jobs, per, burst = string.match(stored, '^(%d+) (%d+) (%d+)$')
  local every = per / jobs
  local full_at = math.max(now, tonumber(redis.call('HGET', pace_ .. class, whose) or 0))
  full_at = math.min(full_at, now + burst * every) -- else a clock that went back would stop it
  local left = jobs == '0' and 0 or math.floor(burst - (full_at - now) / every + 1e-6)
  rates[whose] = { every = every, burst = burst, full_at = full_at, left = left, spent = 0 }
end

local function read_limits(class)
  local rows = redis.call('HGETALL', limits)
  for i = 1, #rows, 2 do
    settings[rows[i]] = tonumber(rows[i + 1])
    local app = string.match(rows[i], '^' .. class .. '|(.*)$')
    local paced = string.match(rows[i], '^rate|' .. class .. '|?(.*)$')
    if paced then
      read_rate(class, paced, rows[i + 1])
    elseif app then
      concurrency[app] = tonumber(rows[i + 1])
      running[app] = tonumber(redis.call('HGET', running_ .. class, app) or 0)
    end
  end
end

local function offer(lane, t, entry, pool)
  local _, app, priority, _, model = lane_parts(lane)
  local name = priority .. '|' .. model
  local group = by_name[name]
  if not group then
    group = { priority = priority, model = model, apps = {} }
    by_name[name] = group
    groups[#groups + 1] = group
  end
  local sources = group.apps[app]
  if not sources then
    sources = {}
    group.apps[app] = sources
  end
  sources[#sources + 1] = { t = tonumber(t), lane = lane, entry = entry, pool = pool }
end

-- Of two heads of one age: what was leased before goes first, since it was older in its lane.
local function before(a, b)
  if (a.entry == nil) ~= (b.entry == nil) then return a.entry ~= nil end
  return a.lane < b.lane
end

local function oldest(app, sources)
  if concurrency[app] and running[app] >= concurrency[app] then return nil end
  if rates[app] and rates[app].left < 1 then return nil end
  local best
  for _, source in ipairs(sources) do
    if source.t and (not best or source.t < best.t
        or (source.t == best.t and before(source, best))) then best = source end
  end
  return best
end

local function group_head(group)
  local t = false
  for app, sources in pairs(group.apps) do
    local source = oldest(app, sources)
    if source and (not t or source.t < t) then t = source.t end
  end
  return t
end

local function choose(resident, open)
  for _, group in ipairs(groups) do
    if group.t == nil then group.t = group_head(group) end
  end
  return choose_group(groups, resident, open)
end

local function choose_app(group, class)
  local unread = {}
  for app in pairs(group.apps) do
    if not turns[app] then unread[#unread + 1] = app end
  end
  local served = unread[1] and redis.call('HMGET', turns_ .. class, unpack(unread)) or {}
  for i, at in ipairs(served) do turns[unread[i]] = tonumber(at or 0) end
  local chosen, chosen_head
  for app, sources in pairs(group.apps) do
    local head = oldest(app, sources)
    if head then
      if not chosen or turns[app] < turns[chosen] or (turns[app] == turns[chosen]
          and (head.t < chosen_head.t or (head.t == chosen_head.t and app < chosen))) then
        chosen, chosen_head = app, head
      end
    end
  end
  return chosen, chosen_head
end

-- Moves a source on to its next entry. Of many lanes few entries each are leased: it peeks at some,
-- and at twice as many when those are used up.
local function advance(source, room)
  if source.entry then
    source.t = nil
    return
  end
  source.picked = (source.picked or 0) + 1
  if not source.peek or (source.picked == source.asked and #source.peek == source.asked) then
    source.asked = math.min(room + 1, 2 * (source.asked or 2))
    source.peek = undelivered(source.lane, source.asked)
  end
  local following = source.peek[source.picked + 1]
  source.t = following and tonumber(following[2][4]) or nil
end

-- Delivers the entries that were picked from a lane to the worker, and seats the lane anew.
local function deliver(source, worker)
  local wanted = math.min(source.picked, #source.peek)
  source.got, source.given = {}, 0
  if wanted > 0 then
    local streams = redis.call('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', wanted,
      'STREAMS', stream_ .. source.lane, '>')
    source.got = streams and streams[1][2] or {}
  end
  reseat(source.lane, source.peek[wanted + 1])
  if wanted == 0 then drop_if_empty(source.lane) end
end

-- The one lane that is offered, with its app, if nothing else is: then there is nothing to choose.
local function sole_lane()
  if #groups ~= 1 then return nil end
  local app, sources = next(groups[1].apps)
  if next(groups[1].apps, app) or #sources > 1 or sources[1].entry then return nil end
  return app, sources[1]
end

-- Delivers from the only lane without peeking: most takes of a busy worker are like this.
local function pick_sole(class, room, worker, app, source)
  if concurrency[app] then room = math.min(room, concurrency[app] - running[app]) end
  if rates[app] then room = math.min(room, rates[app].left) end
  if room <= 0 then return {} end
  local streams = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', room,
    'STREAMS', stream_ .. source.lane, '>')
  if streams and streams.err then return nil end
  source.got, source.given = streams and streams[1][2] or {}, 0
  local count = #source.got
  if count == 0 then
    reseat(source.lane, nil)
    drop_if_empty(source.lane)
    return {}
  end
  local after = '(' .. source.got[count][1]
  reseat(source.lane, redis.call('XRANGE', stream_ .. source.lane, after, '+', 'COUNT', 1)[1])
  turn = tonumber(redis.call('HGET', turns_ .. class, '') or 0) + count
  turns[app] = turn
  local picked = {}
  for i = 1, count do picked[i] = source end
  return picked
end

-- The sources to lease from, one per free slot at most, in the order of the rule.
local function pick(class, room, resident, worker)
  local app, source = sole_lane()
  local picked = app and pick_sole(class, room, worker, app, source)
  if picked then return picked end
  picked = {}
  local open = clock(class).open
  while #picked < room do
    local group = choose(resident, open)
    if not group then break end
    local app, source = choose_app(group, class)
    picked[#picked + 1] = source
    turn = (turn or tonumber(redis.call('HGET', turns_ .. class, '') or 0)) + 1
    turns[app] = turn
    if running[app] then running[app] = running[app] + 1 end
    if rates[app] then rates[app].left = rates[app].left - 1 end
    advance(source, room)
    for _, each in ipairs(groups) do
      if each == group or concurrency[app] or rates[app] then each.t = nil end
    end
    resident = group.model
  end
  return picked
end

-- Writes down when the apps of so many picks were served.
local function write_turns(class, picked)
  if not turn then return end
  local rows = { '', whole(turn) }
  for app, mine in pairs(turns) do
    if mine > turn - picked then rows[#rows + 1], rows[#rows + 2] = app, whole(mine) end
  end
  redis.call('HSET', turns_ .. class, unpack(rows))
end

-- An attempt of the app has started.
local function spend(app)
  if rates[''] then rates[''].spent = rates[''].spent + 1 end
  if rates[app] then rates[app].spent = rates[app].spent + 1 end
end

local function write_rates(class)
  for whose, rate in pairs(rates) do
    if rate.spent > 0 then
      rate.full_at = rate.full_at + rate.spent * rate.every
      redis.call('HSET', pace_ .. class, whose, string.format('%.3f', rate.full_at))
    end
  end
end

-- When the first of the rates that are used up has a start again; to be asked after write_rates.
local function next_start()
  local first = math.huge
  for _, rate in pairs(rates) do
    local at = rate.every < math.huge and math.ceil(rate.full_at - (rate.burst - 1) * rate.every)
    if at and at > now then first = math.min(first, at) end
  end
  return first
end
