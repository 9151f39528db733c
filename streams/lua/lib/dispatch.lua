-- dispatch: which heads a take leases, entry by entry. Needs ledger, append,
-- finish, rule.
--
-- KEYS  limits  HASH  pool → total, class|app → concurrency, rate|class and rate|class|app → rate
--       pace_   HASH  by class: app, or '' for all → when all the starts of its rate are there again
--       turns_  HASH  by class: app → when it was last served, '' → the count of turns
-- A group is one (priority, model); which one is next, rule.lua says. Within the group it is the turn
-- of the app that was served least recently. `streams.dispatch` is the same rule in Python, and the
-- oracle of the tests.

local settings, concurrency, running = {}, {}, {}
local rates = {} -- app, or '' for all → {every, burst, full_at, left, spent}
local read_limits, write_rates, spend, next_start, offer, pick, drawn, write_turns

-- group:  {priority, model, slots = {app → slot}, by_age = its slots by the age of their heads, queue = and
--         by turn, place = where it stands in its line, t = its head's age base}
-- slot:   {app, sources, turn, age}: what one app has in a group; sources are in order, oldest first
-- source: a lane's undelivered entries, or one expired lease (then it has `entry` and `pool`)
-- Ages and turns only grow while a take picks, so the lists are put in order again as they are looked at:
-- what stands in front and has moved on is put where it belongs now.
do
  local groups = { by_name = {}, by_model = {}, lines = {} } -- lines: by priority, in order of age
  local turns, turn = {}, nil

  -- A rate is `jobs per_ms burst`: a bucket of `burst` starts, into which one comes every per_ms / jobs.
  local function read_rate(class, whose, stored)
    local jobs, per, burst = string.match(stored, '^(%d+) (%d+) (%d+)$')
    local every = per / jobs
    local full_at = math.max(now, tonumber(redis.call('HGET', pace_ .. class, whose) or 0))
    full_at = math.min(full_at, now + burst * every) -- else a clock that went back would stop it
    local left = jobs == '0' and 0 or math.floor(burst - (full_at - now) / every + 1e-6)
    rates[whose] = { every = every, burst = burst, full_at = full_at, left = left, spent = 0 }
  end

  function read_limits(class)
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

  local order = {} -- of what stands in the lists

  function order.sources(a, b)
    if a.t ~= b.t then return a.t < b.t end
    -- What was leased before goes first, since it was older in its lane.
    if (a.entry == nil) ~= (b.entry == nil) then return a.entry ~= nil end
    return a.lane < b.lane
  end

  function order.turns(a, b)
    if a.turn ~= b.turn then return a.turn < b.turn end
    if a.sources[1].t ~= b.sources[1].t then return a.sources[1].t < b.sources[1].t end
    return a.app < b.app
  end

  function order.ages(a, b) return a.age < b.age end

  function order.places(a, b)
    if a.place ~= b.place then return a.place < b.place end
    return a.model < b.model
  end

  -- Puts an item into an ordered list, behind its equals. A list that is long begins at `first`.
  local function put(list, item, before)
    local low, high = list.first or 1, #list + 1
    if high > low and not before(item, list[high - 1]) then low = high end
    while low < high do
      local middle = math.floor((low + high) / 2)
      if before(item, list[middle]) then high = middle else low = middle + 1 end
    end
    table.insert(list, low, item)
  end

  function offer(lane, t, entry, pool)
    local _, app, priority, _, model = lane_parts(lane)
    local name = priority .. '|' .. model
    local group = groups.by_name[name]
    if not group then
      group = { priority = priority, model = model, slots = {}, place = -1 }
      groups.by_name[name] = group
      push(groups.lines, priority, group)
      push(groups.by_model, model, group)
    end
    local slot = group.slots[app]
    if not slot then
      slot = { app = app, sources = {} }
      group.slots[app] = slot
    end
    put(slot.sources, { t = tonumber(t), lane = lane, entry = entry, pool = pool }, order.sources)
  end

  local function may_start(app)
    if concurrency[app] and running[app] >= concurrency[app] then return false end
    return not rates[app] or rates[app].left >= 1
  end

  -- The age base of a group's oldest head that may start, nil for none.
  local function group_head(group)
    local list = group.by_age
    if not list then
      list = {}
      for _, slot in pairs(group.slots) do
        slot.age = slot.sources[1].t
        list[#list + 1] = slot
      end
      table.sort(list, order.ages)
      list.first = 1
      group.by_age = list
    end
    while list[list.first] do
      local slot = list[list.first]
      local head = slot.sources[1]
      if head and slot.age == head.t and may_start(slot.app) then return head.t end
      list.first = list.first + 1
      if head and may_start(slot.app) then
        slot.age = head.t
        put(list, slot, order.ages)
      end
    end
  end

  -- The groups among which the rule chooses: the resident model's, and of each priority the oldest other.
  local function contenders(resident)
    local found = {}
    for _, group in ipairs(groups.by_model[resident] or {}) do
      group.t = group_head(group)
      if group.t then found[#found + 1] = group end
    end
    for _, line in pairs(groups.lines) do
      local i = 1
      while line[i] do
        local group = line[i]
        local t = group_head(group)
        if t == group.place and group.model ~= resident then
          group.t = t
          found[#found + 1] = group
          break
        elseif t == group.place then
          i = i + 1
        else
          table.remove(line, i)
          group.place = t
          if t then put(line, group, order.places) end
        end
      end
    end
    return found
  end

  -- Whose turn it is in a group; nil where nobody may start.
  local function next_slot(group, class)
    local queue = group.queue
    if not queue then
      queue = {}
      local unread = {}
      for app, slot in pairs(group.slots) do
        queue[#queue + 1] = slot
        if not turns[app] then unread[#unread + 1] = app end
      end
      local served = unread[1] and redis.call('HMGET', turns_ .. class, unpack(unread)) or {}
      for i, at in ipairs(served) do turns[unread[i]] = tonumber(at or 0) end
      for _, slot in ipairs(queue) do slot.turn = turns[slot.app] end
      table.sort(queue, order.turns)
      queue.first = 1
      group.queue = queue
    end
    while queue[queue.first] do
      local slot = queue[queue.first]
      local waits = slot.sources[1] and may_start(slot.app)
      if waits and slot.turn == turns[slot.app] then return slot end
      queue.first = queue.first + 1
      if waits then
        slot.turn = turns[slot.app]
        put(queue, slot, order.turns)
      end
    end
  end

  -- Delivers at most `count` entries of a lane to the worker.
  local function deliver(lane, worker, count)
    local stream = stream_ .. lane
    local words = { 'XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', count, 'STREAMS', stream, '>' }
    local streams = redis.pcall(unpack(words))
    if streams and streams.err then
      if redis.call('EXISTS', stream) == 0 then return {} end
      last_delivered(stream) -- makes a missing group anew
      streams = redis.call(unpack(words))
    end
    return streams and streams[1][2] or {}
  end

  -- Picks a source's head and moves it on to the next; false where a lane has none after all. Most lanes give
  -- one entry, which is delivered at once; of the others it peeks at some, and at twice as many when
  -- those are used up.
  local function draw(source, worker, room)
    local stream = stream_ .. source.lane
    if source.entry then
      source.t = nil
      return true
    end
    if source.got then
      source.more = source.more + 1
    else
      source.got, source.given, source.more, source.peek = deliver(source.lane, worker, 1), 0, 0, {}
      if not source.got[1] then
        source.t = nil
        reseat(source.lane, nil)
        drop_if_empty(source.lane)
        return false
      end
      source.after = '(' .. source.got[1][1]
    end
    if source.more == #source.peek and source.more == (source.asked or 0) then
      source.asked = math.min(room, 2 * (source.asked or 1))
      source.peek = redis.call('XRANGE', stream, source.after, '+', 'COUNT', source.asked)
    end
    local following = source.peek[source.more + 1]
    source.t = following and tonumber(following[2][4]) or nil
    return true
  end

  local seats = {} -- of lanes, by key: written once
  at_close[#at_close + 1] = function()
    for key, rows in pairs(seats) do redis.call('ZADD', key, unpack(rows)) end
  end

  -- The next entry that was picked of a lane; nil for none. The first time the rest of them is delivered.
  function drawn(source, worker)
    if not source.seated then
      source.seated = true
      if source.more > 0 then
        for _, entry in ipairs(deliver(source.lane, worker, source.more)) do
          source.got[#source.got + 1] = entry
        end
      end
      local head = source.peek[source.more + 1]
      if head then
        local class, _, priority = lane_parts(source.lane)
        push(seats, lanes_ .. class .. ':' .. priority, head[2][4], source.lane)
      else
        reseat(source.lane, nil)
      end
    end
    source.given = source.given + 1
    return source.got[source.given]
  end

  -- The one group that is offered, if there is one and no other: then there is nothing to choose.
  local function sole_group()
    local name, group = next(groups.by_name)
    return name and not next(groups.by_name, name) and group or nil
  end

  -- The one lane of a group, with its app.
  local function sole_lane(group)
    local app, slot = next(group.slots)
    if next(group.slots, app) or #slot.sources > 1 or slot.sources[1].entry then return nil end
    return app, slot.sources[1]
  end

  -- Delivers from the only lane without peeking: most takes of a busy worker are like this.
  local function pick_sole(class, room, worker, app, source)
    if concurrency[app] then room = math.min(room, concurrency[app] - running[app]) end
    if rates[app] then room = math.min(room, rates[app].left) end
    if room <= 0 then return {} end
    source.got, source.given, source.seated = deliver(source.lane, worker, room), 0, true
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
  function pick(class, room, resident, worker)
    local only = sole_group()
    if only then
      local app, source = sole_lane(only)
      if app then return pick_sole(class, room, worker, app, source) end
    end
    local picked, open = {}, clock(class).open
    while #picked < room do
      local group = only or choose_group(contenders(resident), resident, open)
      local slot = group and next_slot(group, class)
      if not slot then break end
      local app, source = slot.app, table.remove(slot.sources, 1)
      if draw(source, worker, room) then
        picked[#picked + 1] = source
        turn = (turn or tonumber(redis.call('HGET', turns_ .. class, '') or 0)) + 1
        turns[app] = turn
        if running[app] then running[app] = running[app] + 1 end
        if rates[app] then rates[app].left = rates[app].left - 1 end
        resident = group.model
      end
      if source.t then put(slot.sources, source, order.sources) end
    end
    return picked
  end

  -- Writes down when the apps of so many picks were served.
  function write_turns(class, picked)
    if not turn then return end
    local rows = { '', whole(turn) }
    for app, mine in pairs(turns) do
      if mine > turn - picked then rows[#rows + 1], rows[#rows + 2] = app, whole(mine) end
    end
    redis.call('HSET', turns_ .. class, unpack(rows))
  end

  -- An attempt of the app has started.
  function spend(app)
    if rates[''] then rates[''].spent = rates[''].spent + 1 end
    if rates[app] then rates[app].spent = rates[app].spent + 1 end
  end

  function write_rates(class)
    for whose, rate in pairs(rates) do
      if rate.spent > 0 then
        rate.full_at = rate.full_at + rate.spent * rate.every
        redis.call('HSET', pace_ .. class, whose, string.format('%.3f', rate.full_at))
      end
    end
  end

  -- When the first of the rates that are used up has a start again; to be asked after write_rates.
  function next_start()
    local first = math.huge
    for _, rate in pairs(rates) do
      local at = rate.every < math.huge and math.ceil(rate.full_at - (rate.burst - 1) * rate.every)
      if at and at > now then first = math.min(first, at) end
    end
    return first
  end
end
